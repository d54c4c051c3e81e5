"""One answer as a value: when it is unknown, and what it then says."""

from dataclasses import replace

import numpy as np
import pytest

from firstlight.data.pictures import Picture
from firstlight.errors import DataError
from firstlight.evaluate.calibrate import Calibration
from firstlight.evaluate.prediction import (
    Prediction,
    check_each,
    check_probabilities,
    label_prediction,
    prediction,
)

PICTURE = Picture(name="a.png", image_HWC=np.zeros((2, 2, 1), np.uint8), notes=(), doubt="")


def answered(highest: float, doubt: str = "") -> Prediction:
    row_K = np.array([(1 - highest) / 2, highest, (1 - highest) / 2], dtype=np.float32)
    calibration = Calibration(temperature=1.0, threshold=0.9, coverage=0.95, images=500)
    return prediction(replace(PICTURE, doubt=doubt), row_K, ("0", "1", "2"), calibration)


def test_an_unknown_answer_says_what_the_threshold_is_and_what_may_be_the_cause() -> None:
    plain, doubtful = answered(0.6), answered(0.6, "The picture is blank")

    assert plain.answer == doubtful.answer == "unknown"
    assert plain.reason == (
        "60.00 % is below the threshold of 90.00 %. The picture may be unlike the training images"
    )
    assert doubtful.reason == "60.00 % is below the threshold of 90.00 %. The picture is blank"
    assert plain.to_json()["reason"] == plain.reason


def test_a_known_answer_needs_no_reason() -> None:
    assert answered(0.95, "The picture is blank").reason == ""


def test_two_shares_that_round_alike_are_told_apart() -> None:
    assert answered(0.89998).reason.startswith("89.998 % is below the threshold of 90.000 %")


def test_an_answer_at_the_threshold_is_known() -> None:
    row_K = np.array([0.25, 0.75], dtype=np.float32)
    at = Calibration(temperature=1.0, threshold=0.75, coverage=0.95, images=500)
    assert prediction(PICTURE, row_K, ("0", "1"), at).answer == "1"


def test_without_calibration_every_answer_is_given_and_said_to_be_uncalibrated() -> None:
    row_K = np.array([0.45, 0.55], dtype=np.float32)
    answer = prediction(PICTURE, row_K, ("0", "1"), None)
    assert (answer.answer, answer.unknown, answer.calibrated) == ("1", False, False)
    assert answered(0.95).calibrated


def test_of_several_labels_all_given_ones_are_the_answer_in_the_order_of_the_classes() -> None:
    row_K = np.array([0.6, 0.2, 0.9], dtype=np.float32)
    given_K = np.array([True, False, True])
    some = label_prediction(PICTURE, row_K, ("cat", "dog", "sea"), given_K, calibrated=True)
    none = label_prediction(
        PICTURE, row_K, ("cat", "dog", "sea"), ~given_K & False, calibrated=True
    )
    assert (some.answer, some.labels, none.answer) == ("cat;sea", ("cat", "sea"), "(none)")
    assert [*some.probabilities] == ["sea", "cat", "dog"]  # the most probable first
    assert some.to_json()["labels"] == ("cat", "sea")
    assert "labels" not in answered(0.95).to_json()


@pytest.mark.parametrize("row", [[1.5, -0.5], [0.5, 0.6], [np.nan, 1.0]])
def test_what_is_no_probability_is_refused(row: list[float]) -> None:
    with pytest.raises(DataError, match=r"^it\.onnx returns"):
        check_probabilities(np.array([[0.5, 0.5], row], dtype=np.float32), "it.onnx")


@pytest.mark.parametrize("row", [[1.5, 0.5], [-0.5, 0.5], [np.nan, 1.0]])
def test_of_several_labels_each_must_be_a_probability(row: list[float]) -> None:
    each = np.array([[1.0, 1.0], [0.0, 0.0]], dtype=np.float32)  # sums are free
    assert check_each(each, "it.onnx") is each
    with pytest.raises(DataError, match=r"^it\.onnx returns"):
        check_each(np.array([row], dtype=np.float32), "it.onnx")
