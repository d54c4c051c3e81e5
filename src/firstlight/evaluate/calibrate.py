"""How reliable probabilities are, and when to answer "unknown". Axes: N images, K classes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

COVERAGE = 0.95
"""Share of ordinary images that get an answer; for the others ``predict`` says "unknown"."""
LEAST_IMAGES = 10
"""With fewer images, neither a temperature nor a threshold means anything."""
MANY_IMAGES = 50
"""With fewer images, 5 % is too few to count: the lowest confidence is the threshold."""
DOUBT = 0.5
"""If all images are right, or there are few, this many are added whose class is random."""
LARGEST_TEMPERATURE = 100.0
"""Its inverse is the smallest."""
_LEAST_TEMPERATURE = 1e-6
_HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was learned from images that the network was not trained on."""

    temperature: float
    """Logits are divided by this before the softmax (Guo et al. 2017, section 4.2)."""
    threshold: float
    """Below this probability of the best class, an answer is "unknown"."""
    coverage: float
    """Share of the held-out images at or above the threshold."""
    images: int
    """Number of held-out images."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"calibration: {spec.name} must be a number, got {value!r:.60}")
        if not (_LEAST_TEMPERATURE <= self.temperature <= 1 / _LEAST_TEMPERATURE):
            raise ValueError(f"calibration: wanted a temperature above 0, got {self.temperature}")
        if not (0 <= self.threshold <= 1 and 0 <= self.coverage <= 1):
            raise ValueError("calibration: threshold and coverage must be from 0 to 1")


def calibrate(
    logits_NK: npt.NDArray[np.float32], labels_N: npt.NDArray[np.int64]
) -> Calibration | None:
    """Fit the temperature with the smallest log loss, and the threshold that ``COVERAGE`` of the
    images reach. Returns None if there are too few images."""
    if len(labels_N) < LEAST_IMAGES:
        return None
    exact_NK = logits_NK.astype(np.float64)
    few = len(labels_N) < MANY_IMAGES

    temperature = _temperature(exact_NK, labels_N, few)
    confidence_N = np.exp(_log_softmax(exact_NK / temperature).max(axis=1))
    share = 0.0 if few else 1 - COVERAGE
    threshold = float(np.quantile(confidence_N, share, method="lower"))
    return Calibration(
        temperature=temperature,
        threshold=threshold,
        coverage=float((confidence_N >= threshold).mean()),
        images=len(labels_N),
    )


def calibrated_losses(
    logits_NK: npt.NDArray[np.float32], labels_N: npt.NDArray[np.int64]
) -> Float64Array:
    """The log loss of each image, float64 N, after calibration on the same images; N ≥ 2.

    This compares networks by what they know, even if one is over- or underconfident. With few
    images, the temperature for each image is fitted to all the others, because its own answer would
    have too much influence.
    """
    exact_NK, numbers_N = logits_NK.astype(np.float64), np.arange(len(labels_N))
    if len(labels_N) >= MANY_IMAGES:
        return log_losses(exact_NK / _temperature(exact_NK, labels_N, few=False), labels_N)
    temperature_N = np.array(
        [
            _temperature(exact_NK[numbers_N != at], labels_N[numbers_N != at], few=True)
            for at in numbers_N
        ]
    )
    return log_losses(exact_NK / temperature_N[:, None], labels_N)


def log_losses(scores_NK: Float64Array, labels_N: npt.NDArray[np.int64]) -> Float64Array:
    """-log of the softmax probability of each image's true class, float64 N."""
    losses_N: Float64Array = -_log_softmax(scores_NK)[np.arange(len(labels_N)), labels_N]
    return losses_N


def _temperature(logits_NK: Float64Array, labels_N: npt.NDArray[np.int64], few: bool) -> float:
    """The T ≥ 1 / ``LARGEST_TEMPERATURE`` with the smallest mean of -log softmax(z / T).

    The loss is convex in 1 / T. Its slope is the mean of Σ p·z minus z of the true class. Bisection
    finds where the slope changes sign, to 1e-11 of T. If all images are right, the loss keeps
    falling as T does; with few images, a single mistake decides. In both cases ``DOUBT`` images are
    added to the loss that look like the others and may be of any class.
    """
    logits_NK = logits_NK - logits_NK.max(axis=1, keepdims=True)
    true_N = logits_NK[np.arange(len(labels_N)), labels_N]
    doubt = DOUBT if few or (true_N == 0).all() else 0.0
    doubtful = doubt * logits_NK.mean()

    def falls(log_temperature: float) -> bool:
        """Whether the loss is smaller at a larger temperature."""
        p_NK = np.exp(_log_softmax(logits_NK / math.exp(log_temperature)))
        expected_N = (p_NK * logits_NK).sum(axis=1)
        if not doubt:
            return bool((expected_N - true_N).mean() > 0)
        slope = (expected_N - true_N).sum() + doubt * expected_N.mean() - doubtful
        return bool(slope > 0)

    return math.exp(halved(falls, math.log(LARGEST_TEMPERATURE)))


def halved(falls: Callable[[float], bool], largest: float) -> float:
    """The minimum of a convex loss between minus and plus ``largest``, by bisection. ``falls`` says
    whether the loss is smaller above a number."""
    low, high = -largest, largest
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    return (low + high) / 2


def accuracy_at_coverage(
    right_N: npt.NDArray[np.bool_], confidence_N: npt.NDArray[np.float32]
) -> tuple[Float64Array, Float64Array]:
    """Coverage and accuracy, float64 N each, of the 1, 2, … N most confident answers."""
    order_N = np.argsort(-confidence_N, kind="stable")
    counts_N = np.arange(1, len(order_N) + 1)
    return counts_N / len(order_N), np.cumsum(right_N[order_N]) / counts_N


def _log_softmax(scores_NK: Float64Array) -> Float64Array:
    shifted_NK = scores_NK - scores_NK.max(axis=1, keepdims=True)
    result: Float64Array = shifted_NK - np.log(np.exp(shifted_NK).sum(axis=1, keepdims=True))
    return result
