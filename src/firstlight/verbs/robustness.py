"""Measure a finished run's accuracy under corruptions, and save the figures."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import TrainTest
from firstlight.evaluate.predict import LARGE, pixels_seen
from firstlight.evaluate.robustness import (
    MOST_IMAGES,
    MOST_LARGE,
    Robustness,
    UInt8Array,
    measure_robustness,
)
from firstlight.model import run_model
from firstlight.runs.folder import RunFolder
from firstlight.verbs.run_data import run_test_data


def robustness(
    folder: RunFolder,
    *,
    device: str = "auto",
    data: TrainTest | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Measure the accuracy on up to 2,000 test images under each corruption, or on 500 if the
    network's input is larger than 128×128 pixels; write ``robustness.json``. ``progress`` is called
    with the number of answers and the total.

    Raises ``UserError`` for an unfinished run, and ``DataError`` if the data is not the run's.
    """
    folder.require_finished()
    test = run_test_data(folder, data=data)
    model = run_model(folder, device)
    is_large = pixels_seen(model.saved.model, model.preprocess) > LARGE
    count = min(len(test), MOST_LARGE if is_large else MOST_IMAGES)
    some = test.take(np.arange(count) * len(test) // count)

    def right_of(images_NHWC: UInt8Array) -> npt.NDArray[np.bool_]:
        answers_NK = model.probabilities(images_NHWC)
        return model.task.right(some.each_label, answers_NK, model.calibration)

    found = measure_robustness(some.images_NHWC[:], right_of, progress)
    folder.write_json("robustness.json", found.to_json())
    return found
