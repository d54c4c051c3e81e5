"""One answer as a value. Axes: H height, W width, C channels, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from firstlight.checked import joined_labels
from firstlight.errors import DataError
from firstlight.evaluate.calibrate import LEAST_IMAGES, Calibration

UNCALIBRATED = (
    "not calibrated, and never unknown: training held out no images, or fewer than "
    f"{LEAST_IMAGES}, to calibrate on"
)
"""How probabilities are described if a run has no calibration."""
SHOWN_CLASSES = 5
"""In a notebook, the most probable."""
UNKNOWN = "unknown"
"""The answer if the best class is below the threshold."""
UNLIKE = "The picture may be unlike the training images"
"""Why an answer is unknown, if nothing else about the picture is known."""
# For the sum of float32 probabilities; rounding in a file may also lead slightly outside 0 to 1.
_TOLERANCE = 1e-3


def check_probabilities(
    probabilities_NK: npt.NDArray[np.float32], source: str
) -> npt.NDArray[np.float32]:
    """Return the probabilities after checking that each is from 0 to 1 and each row sums to 1.

    Raises ``DataError`` otherwise; its message begins with ``source``, what answered.
    """
    check_each(probabilities_NK, source)
    sums_N = probabilities_NK.sum(axis=1)
    if not bool((np.abs(sums_N - 1) <= _TOLERANCE).all()):
        worst = sums_N[int(np.abs(sums_N - 1).argmax())]
        raise DataError(
            f"{source} returns probabilities that sum to {worst:.3g}, not to 1. Use another model"
        )
    return probabilities_NK


def check_each(probabilities_NK: npt.NDArray[np.float32], source: str) -> npt.NDArray[np.float32]:
    """Return the probabilities after checking that each is from 0 to 1. Raises ``DataError`` as
    ``check_probabilities`` does."""
    lowest, highest = probabilities_NK.min(initial=0), probabilities_NK.max(initial=1)
    if not (lowest >= -_TOLERANCE and highest <= 1 + _TOLERANCE):  # also catches NaN
        raise DataError(
            f"{source} returns numbers that are not probabilities: they range from "
            f"{lowest:.3g} to {highest:.3g}. Use another model"
        )
    return probabilities_NK


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer for one picture, or the reason that there is none."""

    name: str
    """The path as given, or the index in an array."""
    probabilities: dict[str, float]
    """Class name to probability, most probable first; empty if ``error`` is set."""
    notes: tuple[str, ...] = ()
    """What was done to the picture that a user should know."""
    error: str | None = None
    """Why the picture could not be read."""
    image_HWC: npt.NDArray[np.uint8] | None = None
    """What the network was shown."""
    unknown: bool = False
    """Whether the most probable class is less probable than for ordinary images."""
    reason: str = ""
    """Why the answer is unknown: the threshold, and what about the picture may be the cause."""
    calibrated: bool = True
    """Whether the run held out enough images to be calibrated. If not, the probabilities are the
    network's own, and no answer is unknown."""
    labels: tuple[str, ...] | None = None
    """The labels that the picture is given, if it may have several: those that reach their
    thresholds, in the order of the classes. None if it has one class."""

    @property
    def answer(self) -> str | None:
        """The most probable class, or ``unknown``; of several labels all that are given, joined, or
        ``(none)``."""
        if self.labels is not None:
            return joined_labels(self.labels)
        return UNKNOWN if self.unknown else self.best

    @property
    def best(self) -> str | None:
        """The most probable class, however improbable."""
        return next(iter(self.probabilities), None)

    @property
    def confidence(self) -> float | None:
        """Its probability, 0 to 1."""
        return next(iter(self.probabilities.values()), None)

    def _repr_html_(self) -> str:
        from firstlight import cells

        if self.answer is None:
            return cells.block(self.name, cells.note(self.error or "no answer"))
        seen = "" if self.image_HWC is None else cells.strip(self.image_HWC[None], self.name)
        likely = list(self.probabilities.items())[:SHOWN_CLASSES]
        rows = [(cells.text(name), f"{100 * share:.2f} %") for name, share in likely]
        return cells.block(
            f"{self.name}: {self.answer}",
            seen,
            cells.table(("class", "probability"), rows, right=(1,)),
            *map(cells.note, self.notes),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the image."""
        return {
            "name": self.name,
            "probabilities": self.probabilities,
            "notes": self.notes,
            "error": self.error,
            "unknown": self.unknown,
            "reason": self.reason,
            "calibrated": self.calibrated,
            "answer": self.answer,
            "best": self.best,
            "confidence": self.confidence,
            **({} if self.labels is None else {"labels": self.labels}),
        }


class Shown(Protocol):
    """A picture as a model takes it, such as ``data.pictures.Picture``."""

    @property
    def name(self) -> str: ...
    @property
    def image_HWC(self) -> npt.NDArray[np.uint8]: ...  # noqa: N802 (its axes)
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def doubt(self) -> str: ...


def prediction(
    picture: Shown,
    probabilities_K: npt.NDArray[np.float32],
    class_names: Sequence[str],
    calibration: Calibration | None,
) -> Prediction:
    """The answer for these probabilities: unknown if none reaches the threshold."""
    order_K = np.argsort(-probabilities_K, kind="stable")
    highest = float(probabilities_K.max())
    unknown = calibration is not None and highest < calibration.threshold
    return Prediction(
        name=picture.name,
        probabilities={class_names[k]: float(probabilities_K[k]) for k in order_K},
        notes=picture.notes,
        image_HWC=picture.image_HWC,
        unknown=unknown,
        reason=_reason(highest, calibration.threshold, picture.doubt)
        if unknown and calibration
        else "",
        calibrated=calibration is not None,
    )


def _reason(highest: float, threshold: float, doubt: str) -> str:
    """Both in percent, with enough digits to tell them apart."""
    digits = 2
    while f"{highest:.{digits}%}" == f"{threshold:.{digits}%}" and digits < 6:
        digits += 1
    low, high = (f"{100 * share:.{digits}f} %" for share in (highest, threshold))
    return f"{low} is below the threshold of {high}. {doubt or UNLIKE}"


def label_prediction(
    picture: Shown,
    probabilities_K: npt.NDArray[np.float32],
    class_names: Sequence[str],
    given_K: npt.NDArray[np.bool_],
    *,
    calibrated: bool,
) -> Prediction:
    """The answer if a picture may have several labels: the given labels, and all probabilities."""
    order_K = np.argsort(-probabilities_K, kind="stable")
    return Prediction(
        name=picture.name,
        probabilities={class_names[k]: float(probabilities_K[k]) for k in order_K},
        notes=picture.notes,
        image_HWC=picture.image_HWC,
        labels=tuple(class_names[k] for k in np.flatnonzero(given_K).tolist()),
        calibrated=calibrated,
    )
