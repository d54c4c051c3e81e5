"""One answer as a value: when it is unknown, and what it then says."""

import numpy as np

from firstlight.data.pictures import Picture
from firstlight.evaluate.calibrate import Calibration
from firstlight.evaluate.prediction import Prediction, prediction


def answered(highest: float, doubt: str = "") -> Prediction:
    row_K = np.array([(1 - highest) / 2, highest, (1 - highest) / 2], dtype=np.float32)
    calibration = Calibration(temperature=1.0, threshold=0.9, coverage=0.95, images=500)
    image_HWC = np.zeros((2, 2, 1), dtype=np.uint8)
    picture = Picture(name="a.png", image_HWC=image_HWC, notes=(), doubt=doubt)
    return prediction(picture, row_K, ("0", "1", "2"), calibration)


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
