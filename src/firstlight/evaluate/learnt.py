"""Whether answers are better than a guess. Axes: N images, K classes."""

import math

from firstlight.evaluate.metrics import Metrics, wilson_interval

ENOUGH = 50
"""With fewer images, the accuracy says too little."""


def nothing_learnt(metrics: Metrics) -> str:
    """Why these answers are no better than a guess, as the end of a sentence; otherwise empty.

    They are no better in two cases: the accuracy is at most the share of the largest class and the
    classes are found no better than by chance; or the loss is above ln K, the loss of equal
    probabilities, and the accuracy is not clearly above the share of the largest class.
    """
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


def above_guessing(metrics: Metrics) -> str:
    """Says that the loss is above ln K (with few images, far above), as the end of a sentence;
    otherwise empty."""
    guessing = math.log(len(metrics.per_class))
    if metrics.log_loss <= guessing * (1 if metrics.count >= ENOUGH else 2):
        return ""
    return (
        f"its loss is {metrics.log_loss:.4g}; equal probabilities for all classes give "
        f"{guessing:.4g}"
    )
