"""Metrics of a set of predictions. Axes: N images, K classes.

Computed with NumPy alone: loading scikit-learn takes a second, as long as answering MNIST's ten
thousand test images. The tests compare with scikit-learn and SciPy.
"""

import math
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

CALIBRATION_BINS = 15
SHOWN_CLASSES = 20
"""In a notebook; of more, those with the lowest recall."""
MANY_CLASSES = 100
"""With more classes, the confusion matrix is sparse: only its nonzero cells are written."""
MOST_CELLS = 100_000
"""At most this many cells, the most frequent first."""


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class against the rest."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Number of images whose true class this is."""


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """How often one class was mistaken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """As a share of the images of the true class, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The images whose best probability reaches a threshold."""

    threshold: float
    """0 to 1, chosen on held-out images."""
    coverage: float
    """Their share of all, 0 to 1."""
    accuracy: float | None
    """Accuracy of these images alone; None if there are none."""


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
    """K×K counts; rows are true classes, columns predicted classes."""
    most_confused: tuple[ConfusedPair, ...]
    """Up to ten, most frequent first."""
    answered: Coverage | None
    """What is answered, if the run has a threshold below which it says "unknown"."""

    def to_json(self) -> dict[str, object]:
        """Plain values, as written to ``metrics.json``.

        With more than ``MANY_CLASSES`` classes, the confusion matrix is written as its nonzero
        cells: the lists ``true``, ``predicted`` and ``count``, all of the same length.
        """
        values = asdict(replace(self, confusion=()))
        many = len(self.per_class) > MANY_CLASSES
        values["confusion"] = _sparse(np.array(self.confusion)) if many else self.confusion
        return values

    def _repr_html_(self) -> str:
        from firstlight import cells

        low, high = (100 * end for end in self.accuracy_interval)
        facts = {
            "accuracy": f"{100 * self.accuracy:.2f} % ({self.correct:,} of {self.count:,} images)",
            "95 % interval": f"{low:.2f} to {high:.2f} %",
            "log loss": f"{self.log_loss:.4f}",
            "calibration error": f"{100 * self.expected_calibration_error:.2f} %",
        }
        if self.answered is not None and self.answered.accuracy is not None:
            facts["answered"] = (
                f"{100 * self.answered.coverage:.2f} %, of these "
                f"{100 * self.answered.accuracy:.2f} % correctly"
            )
        names = [row.name for row in self.per_class]
        few = len(names) <= SHOWN_CLASSES
        rows = sorted(self.per_class, key=lambda row: row.recall)[:SHOWN_CLASSES]
        shown = self.per_class if few else rows
        left_out = f"The {SHOWN_CLASSES} classes of {len(names):,} with the lowest recall."
        return cells.block(
            "Evaluation",
            cells.facts(facts),
            "" if few else cells.note(left_out),
            cells.table(
                ("class", "precision", "recall", "F1", "images"),
                [
                    (
                        cells.text(row.name),
                        *(f"{100 * part:.1f} %" for part in (row.precision, row.recall, row.f1)),
                        f"{row.support:,}",
                    )
                    for row in shown
                ],
                right=(1, 2, 3, 4),
            ),
            cells.note("Rows are true classes, columns the answers.") if few else "",
            cells.counts(names, self.confusion) if few else "",
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Metrics":
        """The inverse of ``to_json``. Raises ``TypeError`` or ``LookupError`` for anything else."""
        low, high = values["accuracy_interval"]
        answered = values["answered"]
        changed = {
            "accuracy_interval": (low, high),
            "per_class": tuple(ClassMetrics(**row) for row in values["per_class"]),
            "confusion": tuple(
                tuple(row)
                for row in confusion_counts(values["confusion"], len(values["per_class"])).tolist()
            ),
            "most_confused": tuple(ConfusedPair(**pair) for pair in values["most_confused"]),
            "answered": None if answered is None else Coverage(**answered),
        }
        return cls(**{**values, **changed})


def confusion_counts(written: Any, classes: int) -> Int64Array:
    """K×K counts from what ``to_json`` wrote.

    In a sparse matrix that was cut off, the rarest cells are 0. Raises ``ValueError`` or
    ``LookupError`` for anything else.
    """
    if not isinstance(written, dict):
        counts_KK = np.array(written, dtype=np.int64)
        if counts_KK.shape != (classes, classes):
            raise ValueError(f"a confusion matrix of {counts_KK.shape} for {classes} classes")
        return counts_KK
    counts_KK = np.zeros((classes, classes), np.int64)
    counts_KK[written["true"], written["predicted"]] = written["count"]
    return counts_KK


def _sparse(counts_KK: Int64Array) -> dict[str, list[int]]:
    true_C, predicted_C = np.nonzero(counts_KK)
    count_C = counts_KK[true_C, predicted_C]
    chosen = np.sort(np.argsort(-count_C, kind="stable")[:MOST_CELLS])
    return {
        "true": true_C[chosen].tolist(),
        "predicted": predicted_C[chosen].tolist(),
        "count": count_C[chosen].tolist(),
    }


def measure(
    labels_N: Int64Array,
    probabilities_NK: Float32Array,
    class_names: tuple[str, ...],
    threshold: float | None = None,
) -> Metrics:
    """All metrics of N ≥ 1 predictions; below ``threshold`` an answer is "unknown".

    Raises ``ValueError`` if shapes disagree or a probability is not a number.
    """
    count, classes = len(labels_N), len(class_names)
    if count == 0 or probabilities_NK.shape != (count, classes):
        raise ValueError(
            f"{count} labels and {classes} classes do not match probabilities of shape "
            f"{probabilities_NK.shape}"
        )
    predicted_N = probabilities_NK.argmax(axis=1)
    correct = int((predicted_N == labels_N).sum())
    confusion_KK = np.bincount(labels_N * classes + predicted_N, minlength=classes**2)
    confusion_KK = confusion_KK.reshape(classes, classes)
    right_K, true_K = confusion_KK.diagonal(), confusion_KK.sum(axis=1)
    predicted_K = confusion_KK.sum(axis=0)
    # Normalize the rows in float64; a probability below the resolution counts as that.
    exact_NK = probabilities_NK.astype(np.float64)
    exact_N = exact_NK[np.arange(count), labels_N] / exact_NK.sum(axis=1)
    if not np.isfinite(exact_N).all():
        raise ValueError("probabilities that are not numbers, or all zero")
    resolution = np.finfo(np.float64).eps
    return Metrics(
        count=count,
        correct=correct,
        accuracy=correct / count,
        accuracy_interval=wilson_interval(correct, count),
        log_loss=float(-np.log(exact_N.clip(resolution, 1 - resolution)).mean()),
        expected_calibration_error=calibration_error(labels_N, probabilities_NK),
        per_class=tuple(
            ClassMetrics(
                name=name,
                precision=_share(right_K[k], predicted_K[k]),
                recall=_share(right_K[k], true_K[k]),
                f1=_share(2 * right_K[k], true_K[k] + predicted_K[k]),
                support=int(true_K[k]),
            )
            for k, name in enumerate(class_names)
        ),
        confusion=tuple(tuple(row) for row in confusion_KK.tolist()),
        most_confused=_most_confused(confusion_KK, class_names),
        answered=None
        if threshold is None
        else _answered(predicted_N == labels_N, probabilities_NK.max(axis=1), threshold),
    )


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of ``right`` / ``count``, with ``count`` ≥ 1 (Wilson 1927)."""
    share, z = right / count, NormalDist().inv_cdf(0.975)
    middle = share + z**2 / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low, high = ((middle + side) / (1 + z**2 / count) for side in (-half, half))
    return (low if right else 0.0), (high if right < count else 1.0)


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0


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
    # A stable sort keeps pairs with equal counts in class order.
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
