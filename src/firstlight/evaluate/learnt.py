"""Whether answers are better than a guess. Axes: N images, K classes."""

import math

from firstlight.evaluate.metrics import Metrics, wilson_interval

ENOUGH = 50
"""Of fewer images, an accuracy says too little."""


def nothing_learnt(metrics: Metrics) -> str:
    """Why these answers are no better than a guess, as the end of a sentence; empty where they are.

    They are no better where they are right no more often than the largest class is frequent, and
    find the classes no better than chance does; or where their loss is above ln K, that of equal
    probabilities, and their accuracy is not clearly above the largest class.
    """
    largest = max(metrics.per_class, key=lambda row: row.support)
    share = largest.support / metrics.count
    there = [row for row in metrics.per_class if row.support]
    if len(there) < 2:  # there is nothing to tell apart
        return ""
    chance = 1 / len(metrics.per_class)
    # Of uneven classes, right answers for the small ones may cost accuracy.
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
    """That the loss is above ln K, of few images far above, as the end of a sentence; empty where
    it is not."""
    guessing = math.log(len(metrics.per_class))
    if metrics.log_loss <= guessing * (1 if metrics.count >= ENOUGH else 2):
        return ""
    return (
        f"its loss is {metrics.log_loss:.4g}; equal probabilities for all classes give "
        f"{guessing:.4g}"
    )
