"""Metrics of answers with several labels each. Axes: N images, K labels.

Computed with NumPy alone, as ``metrics.py`` does; the tests compare with scikit-learn.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.evaluate.metrics import CALIBRATION_BINS, wilson_interval

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

SEVERAL = "several"
"""What files of a run hold under ``labels``, where its images have several each."""

LEAST_THRESHOLD = 1e-6
"""The threshold if every image is best given the label."""
SHOWN_LABELS = 20
"""In a notebook."""


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One label: the images that have it against the others."""

    name: str
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    """Σ (Rₙ - Rₙ₋₁) Pₙ over all thresholds, without interpolation; None if no image has it."""
    threshold: float
    """The probability from which the label is given."""
    support: int
    """Number of images that have this label."""

    @property
    def shares(self) -> tuple[float | None, float | None, float | None]:
        """Precision, recall and F1 to show: None if no image has the label, so that there is
        nothing to find."""
        return (self.precision, self.recall, self.f1) if self.support else (None, None, None)


@dataclass(frozen=True, kw_only=True)
class LabelMetrics:
    """Everything ``evaluate`` reports if images have several labels."""

    count: int
    correct: int
    """Number of images whose labels are exactly those given."""
    accuracy: float
    """Their share, known as exact match or subset accuracy."""
    accuracy_interval: tuple[float, float]
    """Wilson score interval, 95 %."""
    f1_micro: float
    """Over all labels of all images together."""
    f1_macro: float
    """The mean over the labels that at least one image has."""
    mean_average_precision: float
    """The mean over the same labels; independent of thresholds."""
    log_loss: float
    """Mean over the images of the binary cross-entropies, summed over the labels, nats."""
    expected_calibration_error: float
    """0 to 1; of all N·K probabilities, with 15 equal-width bins."""
    per_class: tuple[LabelRow, ...]

    def _repr_html_(self) -> str:
        from firstlight import cells

        low, high = (100 * end for end in self.accuracy_interval)
        facts = {
            "exact match": f"{100 * self.accuracy:.2f} % "
            f"({self.correct:,} of {self.count:,} images)",
            "95 % interval": f"{low:.2f} to {high:.2f} %",
            "F1": f"{100 * self.f1_micro:.2f} % micro, {100 * self.f1_macro:.2f} % macro",
            "mean average precision": f"{100 * self.mean_average_precision:.2f} %",
            "log loss": f"{self.log_loss:.4f}",
            "calibration error": f"{100 * self.expected_calibration_error:.2f} %",
        }
        few = len(self.per_class) <= SHOWN_LABELS
        lowest = sorted((row for row in self.per_class if row.support), key=lambda row: row.f1)
        left_out = f"The {SHOWN_LABELS} labels of {len(self.per_class):,} with the lowest F1."
        return cells.block(
            "Evaluation",
            cells.facts(facts),
            "" if few else cells.note(left_out),
            cells.table(
                ("label", "precision", "recall", "F1", "average precision", "threshold", "images"),
                [
                    (
                        cells.text(row.name),
                        *map(_percent, row.shares),
                        _percent(row.average_precision),
                        _percent(row.threshold),
                        f"{row.support:,}",
                    )
                    for row in (self.per_class if few else lowest[:SHOWN_LABELS])
                ],
                right=(1, 2, 3, 4, 5, 6),
            ),
            cells.note("A label is given if its probability reaches the threshold."),
        )

    def to_json(self) -> dict[str, object]:
        """Plain values, as written to ``metrics.json``."""
        return {"labels": SEVERAL, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "LabelMetrics":
        """The inverse of ``to_json``. Raises ``TypeError`` or ``LookupError`` for anything else."""
        low, high = values["accuracy_interval"]
        changed = {
            "accuracy_interval": (low, high),
            "per_class": tuple(LabelRow(**row) for row in values["per_class"]),
        }
        return cls(**{k: v for k, v in {**values, **changed}.items() if k != "labels"})


def measure_labels(
    labels_NK: BoolArray,
    probabilities_NK: Float32Array,
    class_names: tuple[str, ...],
    thresholds_K: Float64Array,
) -> LabelMetrics:
    """All metrics of N ≥ 1 answers. Raises ``ValueError`` if shapes disagree or a probability is
    not a number."""
    count, classes = labels_NK.shape
    if count == 0 or probabilities_NK.shape != (count, classes) or len(class_names) != classes:
        raise ValueError(
            f"labels {labels_NK.shape} and {len(class_names)} names do not match probabilities of "
            f"shape {probabilities_NK.shape}"
        )
    if not np.isfinite(probabilities_NK).all():
        raise ValueError("probabilities that are not numbers")
    given_NK = given_labels(probabilities_NK, thresholds_K)
    right_K = (given_NK & labels_NK).sum(axis=0)
    given_K, true_K = given_NK.sum(axis=0), labels_NK.sum(axis=0)
    rows = tuple(
        LabelRow(
            name=name,
            precision=_share(right_K[k], given_K[k]),
            recall=_share(right_K[k], true_K[k]),
            f1=_share(2 * right_K[k], given_K[k] + true_K[k]),
            average_precision=average_precision(labels_NK[:, k], probabilities_NK[:, k])
            if true_K[k]
            else None,
            threshold=float(thresholds_K[k]),
            support=int(true_K[k]),
        )
        for k, name in enumerate(class_names)
    )
    there = [row for row in rows if row.average_precision is not None]
    correct = int((given_NK == labels_NK).all(axis=1).sum())
    return LabelMetrics(
        count=count,
        correct=correct,
        accuracy=correct / count,
        accuracy_interval=wilson_interval(correct, count),
        f1_micro=_share(2 * right_K.sum(), given_K.sum() + true_K.sum()),
        f1_macro=_mean([row.f1 for row in there]),
        mean_average_precision=_mean([row.average_precision or 0.0 for row in there]),
        log_loss=_log_loss(labels_NK, probabilities_NK),
        expected_calibration_error=_calibration_error(labels_NK, probabilities_NK),
        per_class=rows,
    )


def given_labels(probabilities_NK: Float32Array, thresholds_K: Float64Array) -> BoolArray:
    """N×K: the labels that each image is given."""
    given_NK: BoolArray = probabilities_NK.astype(np.float64) >= thresholds_K
    return given_NK


def average_precision(has_N: BoolArray, probability_N: Float32Array) -> float:
    """Σ (Rₙ - Rₙ₋₁) Pₙ over the distinct thresholds, for a label that at least one image has."""
    precision_T, recall_T = precision_and_recall(has_N, probability_N)
    return float((np.diff(recall_T, prepend=0.0) * precision_T).sum())


def precision_and_recall(
    has_N: BoolArray, probability_N: Float32Array
) -> tuple[Float64Array, Float64Array]:
    """Precision and recall for each distinct probability as the threshold, highest first."""
    right_T, given_T = _found(has_N, probability_N)
    return right_T / given_T, right_T / float(has_N.sum())


def _found(has_N: BoolArray, score_N: npt.NDArray[Any]) -> tuple[Float64Array, Float64Array]:
    """For each distinct score as the threshold, highest first: how many images with the label are
    found, and how many images are given it."""
    order_N = np.argsort(-score_N, kind="stable")
    falls_N = np.append(np.diff(score_N[order_N]) < 0, True)
    right_T = np.cumsum(has_N[order_N], dtype=np.float64)[falls_N]
    return right_T, (1 + np.flatnonzero(falls_N)).astype(np.float64)


def best_threshold(has_N: BoolArray, probability_N: Float64Array) -> float:
    """The threshold with the highest F1, midway between two probabilities; among equals, the one
    nearest to one half. Some images must have the label, and some must not."""
    right_T, given_T = _found(has_N, probability_N)
    f1_T = 2 * right_T / (given_T + has_N.sum())
    score_T = np.unique(probability_N)[::-1]
    middle_T = (score_T + np.append(score_T[1:], 0.0)) / 2
    middle_T = middle_T.clip(LEAST_THRESHOLD, 1.0)
    best_T = np.flatnonzero(f1_T >= f1_T.max() - 1e-12)
    return float(middle_T[best_T[np.argmin(np.abs(middle_T[best_T] - 0.5))]])


def _log_loss(labels_NK: BoolArray, probabilities_NK: Float32Array) -> float:
    resolution = np.finfo(np.float64).eps
    exact_NK = probabilities_NK.astype(np.float64).clip(resolution, 1 - resolution)
    return float(-np.log(np.where(labels_NK, exact_NK, 1 - exact_NK)).sum(axis=1).mean())


def _calibration_error(labels_NK: BoolArray, probabilities_NK: Float32Array) -> float:
    """The mean difference between a probability and the share of images with the label."""
    flat, has = probabilities_NK.astype(np.float64).ravel(), labels_NK.ravel()
    bins = np.clip(np.ceil(flat * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1).astype(np.int64)
    gaps_B = np.bincount(bins, weights=has - flat, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps_B).sum() / len(flat))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
