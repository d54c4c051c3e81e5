"""Conditions on metrics, as a build server states them."""

import numpy as np
import pytest

from firstlight.errors import UserError
from firstlight.evaluate.label_metrics import measure_labels
from firstlight.evaluate.metrics import measure
from firstlight.evaluate.require import requirement

# Three of four right; all answers have probability 0.75.
FOUR = measure(
    np.array([0, 0, 0, 1]), np.array([[0.75, 0.25]] * 4, dtype=np.float32), ("cat", "dog")
)
# Each of two labels is on one of two images, and given to both.
TWO = measure_labels(np.eye(2, dtype=bool), np.ones((2, 2), np.float32), ("a", "b"), np.ones(2))


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("0.75", True),
        ("0.7501", False),
        (" accuracy >= 0.75 ", True),
        ("accuracy>=.8", False),
        ("log_loss<=0.57", True),  # (3 ln 4/3 + ln 4) / 4 = 0.5623
        ("log_loss<=0.56", False),
        ("expected_calibration_error<=1e-6", True),
    ],
)
def test_a_bound_is_met_from_the_number_itself(text: str, met: bool) -> None:
    assert requirement(text).met_by(FOUR) is met


@pytest.mark.parametrize(
    "text",
    ["accuracy<=0.9", "log_loss>=0.1", "precision>=0.5", "1.1", "accuracy>=2", "", "-0.5", "0.9 %"],
)
def test_what_says_nothing_or_the_wrong_way_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--require"):
        requirement(text)


def test_a_loss_may_be_above_one() -> None:
    assert str(requirement("log_loss<=2.5")) == "log_loss<=2.5"


def test_figures_of_several_labels_are_required_only_of_those() -> None:
    half = requirement("f1_micro>=0.66")  # precision 1/2, recall 1
    assert half.met_by(TWO) and not requirement("f1_macro>=0.67").met_by(TWO)
    with pytest.raises(UserError, match="several labels"):
        half.met_by(FOUR)
