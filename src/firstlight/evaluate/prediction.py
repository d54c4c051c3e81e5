"""One answer as a value. Axes: H height, W width, C channels, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.errors import DataError
from firstlight.evaluate.calibrate import LEAST_IMAGES, Calibration

UNCALIBRATED = (
    "not calibrated, and never unknown: training held out no images, or fewer than "
    f"{LEAST_IMAGES}, to calibrate on"
)
"""Of probabilities, where a run has no calibration."""
UNKNOWN = "unknown"
"""The answer where the best class is too improbable."""
# Of a sum of float32 probabilities; a file's rounding may also lead a hair outside 0 to 1.
_TOLERANCE = 1e-3


def check_probabilities(
    probabilities_NK: npt.NDArray[np.float32], source: str
) -> npt.NDArray[np.float32]:
    """The same, once each is from 0 to 1 and each row sums to 1.

    Raises ``DataError``, which opens with ``source``: what answered.
    """
    lowest, highest = probabilities_NK.min(initial=0), probabilities_NK.max(initial=1)
    if not (lowest >= -_TOLERANCE and highest <= 1 + _TOLERANCE):  # also for what is no number
        raise DataError(
            f"{source} returns numbers that are not probabilities: they range from "
            f"{lowest:.3g} to {highest:.3g}. Use another model"
        )
    sums_N = probabilities_NK.sum(axis=1)
    if not bool((np.abs(sums_N - 1) <= _TOLERANCE).all()):
        worst = sums_N[int(np.abs(sums_N - 1).argmax())]
        raise DataError(
            f"{source} returns probabilities that sum to {worst:.3g}, not to 1. Use another model"
        )
    return probabilities_NK


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer for one picture, or the reason why there is none."""

    name: str
    """The path as given, or the index in an array."""
    probabilities: dict[str, float]
    """Class name to probability, most probable first; empty where ``error`` is set."""
    notes: tuple[str, ...] = ()
    """What was done to the picture that a person should know."""
    error: str | None = None
    """Why the picture could not be read."""
    image_HWC: npt.NDArray[np.uint8] | None = None
    """What the network was shown."""
    unknown: bool = False
    """Whether the most probable class is less probable than for ordinary images."""
    calibrated: bool = True
    """Whether the run held out images enough to learn how sure to be; without, the probabilities
    are those of the network as it is, and no answer is unknown."""

    @property
    def answer(self) -> str | None:
        """The most probable class, or ``unknown``."""
        return UNKNOWN if self.unknown else self.best

    @property
    def best(self) -> str | None:
        """The most probable class, however improbable."""
        return next(iter(self.probabilities), None)

    @property
    def confidence(self) -> float | None:
        """Its probability, 0 to 1."""
        return next(iter(self.probabilities.values()), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the image."""
        return {
            "name": self.name,
            "probabilities": self.probabilities,
            "notes": self.notes,
            "error": self.error,
            "unknown": self.unknown,
            "calibrated": self.calibrated,
            "answer": self.answer,
            "best": self.best,
            "confidence": self.confidence,
        }


def prediction(
    name: str,
    probabilities_K: npt.NDArray[np.float32],
    class_names: Sequence[str],
    *,
    calibration: Calibration | None,
    notes: tuple[str, ...] = (),
    image_HWC: npt.NDArray[np.uint8] | None = None,
) -> Prediction:
    """The answer that the probabilities give: unknown where none reaches the threshold."""
    order_K = np.argsort(-probabilities_K, kind="stable")
    return Prediction(
        name=name,
        probabilities={class_names[k]: float(probabilities_K[k]) for k in order_K},
        notes=notes,
        image_HWC=image_HWC,
        unknown=calibration is not None and bool(probabilities_K.max() < calibration.threshold),
        calibrated=calibration is not None,
    )
