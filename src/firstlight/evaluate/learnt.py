"""Whether answers are better than a guess. Axes: N images, K classes."""

import math

from firstlight.evaluate.label_metrics import LabelMetrics
from firstlight.evaluate.metrics import Metrics, wilson_interval

ENOUGH = 50
"""With fewer images, the accuracy says too little."""
LEAST_LIFT = 0.02
"""How far the average precision must be above the share of images with a label. A guess reaches
that share on average."""


def nothing_learnt(metrics: Metrics | LabelMetrics) -> str:
    """Why these answers are no better than a guess, as the end of a sentence; otherwise empty.

    They are no better in two cases: the accuracy is at most the share of the largest class and the
    classes are found no better than by chance; or the loss is above ln K, the loss of equal
    probabilities, and the accuracy is not clearly above the share of the largest class. For several
    labels see ``_no_label_learnt``.
    """
    if isinstance(metrics, LabelMetrics):
        return _no_label_learnt(metrics)
    largest = max(metrics.per_class, key=lambda row: row.support)
    share = largest.support / metrics.count
    there = [row for row in metrics.per_class if row.support]
    if len(there) < 2:  # nothing to distinguish
        return ""
    chance = 1 / len(metrics.per_class)
    # With uneven classes, getting the small ones right may cost accuracy.
    found = sum(row.recall for row in there) / len(there)
    error = math.sqrt(sum(chance * (1 - chance) / row.support for row in there)) / len(there)
    if metrics.count >= ENOUGH and metrics.accuracy <= share and found <= chance + 2 * error:
        return (
            f"it gets {100 * metrics.accuracy:.1f} % right, and always answering "
            f"{largest.name!r}, the largest class, would get {100 * share:.1f} % right"
        )
    low, _ = wilson_interval(metrics.correct, metrics.count)
    return above_guessing(metrics) if low <= share else ""


def _no_label_learnt(metrics: LabelMetrics) -> str:
    """The same for several labels: the labels are found hardly better than in a random order of the
    images. A label that all images have, or none, tells nothing."""
    some = [row for row in metrics.per_class if 0 < row.support < metrics.count]
    if metrics.count < ENOUGH or not some:
        return ""
    found = sum(row.average_precision or 0.0 for row in some) / len(some)
    chance = sum(row.support for row in some) / len(some) / metrics.count
    if found >= chance + LEAST_LIFT * (1 - chance):
        return ""
    return (
        f"its mean average precision is {100 * found:.1f} %, and a random order of the images "
        f"has {100 * chance:.1f} % on average"
    )


def guessing_loss(metrics: Metrics | LabelMetrics) -> float:
    """The loss of equal probabilities: for all classes, or for having and not having a label."""
    classes = len(metrics.per_class)
    several = isinstance(metrics, LabelMetrics)
    return classes * math.log(2) if several else math.log(classes)


def above_guessing(metrics: Metrics | LabelMetrics) -> str:
    """Says that the loss is above that of equal probabilities (with few images, far above), as the
    end of a sentence; otherwise empty."""
    guessing = guessing_loss(metrics)
    if metrics.log_loss <= guessing * (1 if metrics.count >= ENOUGH else 2):
        return ""
    every = "labels" if isinstance(metrics, LabelMetrics) else "classes"
    return (
        f"its loss is {metrics.log_loss:.4g}; equal probabilities for all {every} give "
        f"{guessing:.4g}"
    )
