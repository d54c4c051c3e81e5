"""What a set of predictions is worth. Axes: N images, K classes.

The arithmetic is scikit-learn's and SciPy's; only the calibration error is written out here,
because neither has it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class against the rest."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Images whose true class this is."""


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """How often one class was taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the images of the true class, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The images whose best probability reaches a threshold."""

    threshold: float
    """0 to 1, chosen on held-out images."""
    coverage: float
    """Their share of all, 0 to 1."""
    accuracy: float | None
    """Of these alone; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Everything ``evaluate`` reports about one set of predictions."""

    count: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    """Wilson score interval, 95 %."""
    log_loss: float
    """Mean negative log-likelihood of the true class, nats."""
    expected_calibration_error: float
    """0 to 1; Guo et al. 2017, eq. 3, with 15 equal-width bins."""
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    """K×K counts; rows are true classes, columns predicted ones."""
    most_confused: tuple[ConfusedPair, ...]
    """Up to ten, most frequent first."""
    answered: Coverage | None
    """What is left where the run has a threshold below which it says "unknown"."""

    def to_json(self) -> dict[str, object]:
        """Plain values, as written to ``metrics.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Metrics":
        """What ``to_json`` gave. Raises ``TypeError`` or ``LookupError`` for anything else."""
        low, high = values["accuracy_interval"]
        answered = values["answered"]
        changed = {
            "accuracy_interval": (low, high),
            "per_class": tuple(ClassMetrics(**row) for row in values["per_class"]),
            "confusion": tuple(tuple(row) for row in values["confusion"]),
            "most_confused": tuple(ConfusedPair(**pair) for pair in values["most_confused"]),
            "answered": None if answered is None else Coverage(**answered),
        }
        return cls(**{**values, **changed})


def measure(
    labels_N: Int64Array,
    probabilities_NK: Float32Array,
    class_names: tuple[str, ...],
    threshold: float | None = None,
) -> Metrics:
    """All metrics of N ≥ 1 predictions, ``threshold`` being that of "unknown".

    Raises ``ValueError`` when shapes disagree.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

    classes = np.arange(len(class_names))
    if len(labels_N) == 0 or probabilities_NK.shape != (len(labels_N), len(classes)):
        raise ValueError(
            f"{len(labels_N)} labels and {len(classes)} classes do not fit "
            f"probabilities of shape {probabilities_NK.shape}"
        )
    predicted_N = probabilities_NK.argmax(axis=1)
    correct = int((predicted_N == labels_N).sum())
    wilson = binomtest(correct, len(labels_N)).proportion_ci(0.95, method="wilson")
    precision, recall, f1, support = precision_recall_fscore_support(
        labels_N, predicted_N, labels=classes, zero_division=0.0
    )
    confusion_KK = confusion_matrix(labels_N, predicted_N, labels=classes)
    # log_loss insists on rows that sum to one in float64.
    exact_NK = probabilities_NK.astype(np.float64)
    exact_NK /= exact_NK.sum(axis=1, keepdims=True)
    return Metrics(
        count=len(labels_N),
        correct=correct,
        accuracy=correct / len(labels_N),
        accuracy_interval=(float(wilson.low), float(wilson.high)),
        log_loss=float(log_loss(labels_N, exact_NK, labels=classes)),
        expected_calibration_error=calibration_error(labels_N, probabilities_NK),
        per_class=tuple(
            ClassMetrics(
                name=name,
                precision=float(precision[k]),
                recall=float(recall[k]),
                f1=float(f1[k]),
                support=int(support[k]),
            )
            for k, name in enumerate(class_names)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion_KK),
        most_confused=_most_confused(confusion_KK, class_names),
        answered=None
        if threshold is None
        else _answered(predicted_N == labels_N, probabilities_NK.max(axis=1), threshold),
    )


def _answered(
    right_N: npt.NDArray[np.bool_], confidence_N: Float32Array, threshold: float
) -> Coverage:
    told_N = confidence_N >= threshold
    return Coverage(
        threshold=threshold,
        coverage=float(told_N.mean()),
        accuracy=float(right_N[told_N].mean()) if told_N.any() else None,
    )


def calibration_error(labels_N: Int64Array, probabilities_NK: Float32Array) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): 0 when confidence equals accuracy.

    Confidence is the largest probability of a row; the bins are equal-width, closed on the right.
    """
    confidence_N = probabilities_NK.max(axis=1).astype(np.float64)
    right_N = probabilities_NK.argmax(axis=1) == labels_N
    bin_N = np.clip(np.ceil(confidence_N * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1)
    gaps = [
        abs(right_N[inside].sum() - confidence_N[inside].sum())
        for b in range(CALIBRATION_BINS)
        if (inside := bin_N == b).any()
    ]
    return float(sum(gaps) / len(labels_N))


def _most_confused(
    confusion_KK: npt.NDArray[np.int64], class_names: tuple[str, ...], limit: int = 10
) -> tuple[ConfusedPair, ...]:
    wrong_KK = confusion_KK.copy()
    np.fill_diagonal(wrong_KK, 0)
    # A stable sort keeps pairs of equal count in class order.
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:limit]
    pairs = [tuple(int(i) for i in np.unravel_index(flat, wrong_KK.shape)) for flat in order]
    return tuple(
        ConfusedPair(
            true=class_names[true],
            predicted=class_names[predicted],
            count=int(wrong_KK[true, predicted]),
            share=float(wrong_KK[true, predicted] / confusion_KK[true].sum()),
        )
        for true, predicted in pairs
        if wrong_KK[true, predicted] > 0
    )
