"""How reliable the probabilities of several labels are, and when a label is given.

Axes: N images, K labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from firstlight.evaluate.calibrate import (
    DOUBT,
    LARGEST_TEMPERATURE,
    LEAST_IMAGES,
    MANY_IMAGES,
    halved,
)
from firstlight.evaluate.label_metrics import BoolArray, Float64Array, best_threshold
from firstlight.untrusted import one_line

USUAL = 0.5
"""The threshold of a label if the images do not suggest a better one."""
LEAST_WITH = 10
"""To choose a label's threshold, this many held-out images must have it, and as many must not."""
_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class LabelCalibration:
    """What was learned from images that the network was not trained on."""

    temperature: float
    """Logits are divided by this before the sigmoid. One number for all labels can be estimated
    from few images; one for each label cannot."""
    thresholds: tuple[float, ...]
    """The probability from which each label is given, K. It has the highest F1 on those images."""
    chosen: tuple[bool, ...]
    """K: whether there were enough images to choose the threshold; otherwise it is ``USUAL``."""
    images: int
    """Number of held-out images."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        object.__setattr__(self, "chosen", tuple(self.chosen))
        numbers = (self.temperature, *self.thresholds)
        if not all(type(one) in (int, float) and 0 < one < math.inf for one in numbers):
            raise ValueError("calibration: temperature and thresholds must be numbers above 0")
        if any(one > 1 for one in self.thresholds) or len(self.chosen) != len(self.thresholds):
            raise ValueError("calibration: wanted thresholds up to 1, and which were chosen")

    def of(self, labels: Sequence[int]) -> "LabelCalibration":
        """Return the calibration of only these labels, in this order."""
        return replace(
            self,
            thresholds=tuple(self.thresholds[k] for k in labels),
            chosen=tuple(self.chosen[k] for k in labels),
        )


def calibrate_labels(
    logits_NK: npt.NDArray[np.float32], labels_NK: BoolArray
) -> LabelCalibration | None:
    """Fit the temperature with the smallest log loss, and for each label the threshold with the
    highest F1. Returns None if there are too few images."""
    if len(labels_NK) < LEAST_IMAGES:
        return None
    exact_NK = logits_NK.astype(np.float64)
    temperature = _temperature(exact_NK, labels_NK)
    probabilities_NK = sigmoid(exact_NK / temperature)
    with_K = labels_NK.sum(axis=0)
    chosen_K = np.minimum(with_K, len(labels_NK) - with_K) >= LEAST_WITH
    return LabelCalibration(
        temperature=temperature,
        thresholds=tuple(
            best_threshold(labels_NK[:, k], probabilities_NK[:, k]) if chosen else USUAL
            for k, chosen in enumerate(chosen_K)
        ),
        chosen=tuple(map(bool, chosen_K)),
        images=len(labels_NK),
    )


def usual_thresholds(thresholds: Sequence[float], class_names: Sequence[str]) -> str:
    """Return a sentence on the labels whose threshold was not chosen; empty if there are none."""
    names = [name for name, one in zip(class_names, thresholds, strict=True) if one == USUAL]
    if not names:
        return ""
    listed = ", ".join(one_line(name) for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    whose = "every label" if len(names) == len(class_names) else f"{listed}{more}"
    return (
        f"threshold of {100 * USUAL:g} % for {whose}: fewer than {LEAST_WITH} held-out images have "
        "it, or have it not"
    )


def sigmoid(scores_NK: Float64Array) -> Float64Array:
    """1 / (1 + exp(-z)), without overflow for any z."""
    small_NK = np.exp(-np.abs(scores_NK))
    result: Float64Array = np.where(scores_NK >= 0, 1.0, small_NK) / (1 + small_NK)
    return result


def label_losses(scores_NK: Float64Array, labels_NK: BoolArray) -> Float64Array:
    """The binary cross-entropies of each image, summed over its labels, float64 N."""
    signed_NK = np.where(labels_NK, -scores_NK, scores_NK)
    losses_N: Float64Array = np.logaddexp(0.0, signed_NK).sum(axis=1)
    return losses_N


def calibrated_label_losses(
    logits_NK: npt.NDArray[np.float32], labels_NK: BoolArray
) -> Float64Array:
    """The same after calibration on these images; N ≥ 2.

    With few images, the temperature for each image is fitted to all the others, as for one class
    each (``calibrate.calibrated_losses``).
    """
    exact_NK, numbers_N = logits_NK.astype(np.float64), np.arange(len(labels_NK))
    if len(labels_NK) >= MANY_IMAGES:
        return label_losses(exact_NK / _temperature(exact_NK, labels_NK), labels_NK)
    temperature_N = np.array(
        [_temperature(exact_NK[numbers_N != at], labels_NK[numbers_N != at]) for at in numbers_N]
    )
    return label_losses(exact_NK / temperature_N[:, None], labels_NK)


def _temperature(logits_NK: Float64Array, labels_NK: BoolArray) -> float:
    """The T with the smallest mean binary cross-entropy of z / T.

    As for one label (``calibrate.py``), the loss is convex in 1 / T, with the slope Σ (p - y)·z.
    With few images, or if all signs are right, ``DOUBT`` images are added that have each label with
    probability one half.
    """
    few = len(labels_NK) < MANY_IMAGES
    doubt = DOUBT if few or bool(((logits_NK > 0) == labels_NK).all()) else 0.0
    share = doubt / len(labels_NK)

    def falls(log_temperature: float) -> bool:
        """Whether the loss is smaller at a larger temperature."""
        p_NK = sigmoid(logits_NK / math.exp(log_temperature))
        slope_NK = (p_NK - labels_NK) * logits_NK + share * (p_NK - 0.5) * logits_NK
        return bool(slope_NK.sum() > 0)

    return math.exp(halved(falls, math.log(LARGEST_TEMPERATURE)))
