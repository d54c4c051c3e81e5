"""Answers of one class and of several labels, through the same interface."""

import numpy as np
import pytest
from tests.evaluate.test_prediction import PICTURE

from firstlight.errors import UserError
from firstlight.evaluate.label_calibration import LabelCalibration
from firstlight.evaluate.task import ONE_LABEL, SEVERAL_LABELS, same_answers, task_in

PROBABILITIES = np.array([[0.75, 0.5], [0.25, 1.0], [0.125, 0.375]], dtype=np.float32)
CALIBRATION = LabelCalibration(
    temperature=1.0, thresholds=(0.25, 0.75), chosen=(True, True), images=50
)


def test_a_label_is_given_from_its_threshold_or_from_one_half() -> None:
    given = SEVERAL_LABELS.answers(PROBABILITIES, CALIBRATION)
    usual = SEVERAL_LABELS.answers(PROBABILITIES, None)
    assert given.tolist() == [[True, False], [True, True], [False, False]]
    assert usual.tolist() == [[True, True], [False, True], [False, False]]
    for calibration, answer in ((CALIBRATION, "a"), (None, "a;b")):
        found = SEVERAL_LABELS.prediction(PICTURE, PROBABILITIES[0], ("a", "b"), calibration)
        assert (found.answer, found.calibrated) == (answer, calibration is not None)


def test_an_answer_is_right_if_all_labels_are() -> None:
    labels = np.array([[True, True], [True, True], [False, False]])
    assert SEVERAL_LABELS.right(labels, PROBABILITIES, CALIBRATION).tolist() == [False, True, True]
    assert ONE_LABEL.right(np.array([0, 0, 1]), PROBABILITIES, None).tolist() == [True, False, True]
    assert same_answers(np.array([1, 2]), np.array([1, 3])).tolist() == [True, False]


def test_a_file_names_its_task() -> None:
    assert (task_in({}), task_in({"labels": "several"})) == (ONE_LABEL, SEVERAL_LABELS)
    with pytest.raises(ValueError, match="labels 'boxes'"):
        task_in({"labels": "boxes"})


def test_what_needs_one_class_is_refused_with_several_labels_alone() -> None:
    ONE_LABEL.require_one("maps")
    with pytest.raises(UserError, match=r"^maps do not work yet .*picture\. Leave out"):
        SEVERAL_LABELS.require_one("maps", "Leave out --map")
    with pytest.raises(UserError, match=r"for each picture$"):
        SEVERAL_LABELS.require_one("maps")
