"""Parts of a model card for a run that gives several labels."""

from firstlight.evaluate.label_calibration import usual_thresholds
from firstlight.evaluate.label_metrics import LabelMetrics, LabelRow
from firstlight.evaluate.metrics import MANY_CLASSES
from firstlight.untrusted import markdown_text
from firstlight.verbs.card_metadata import Figure

LISTED = 20
"""Most rows of the table, if there are more than ``MANY_CLASSES`` labels."""


def label_figures(metrics: LabelMetrics) -> tuple[Figure, ...]:
    """Return the figures for the hub, by its words where it has them."""
    return (
        Figure(
            "mean_average_precision", "Test mean average precision", metrics.mean_average_precision
        ),
        Figure("f1", "Test F1, mean of labels", metrics.f1_macro),
        Figure("accuracy", "Test exact match", metrics.accuracy),
        Figure("log_loss", "Test log loss, summed over the labels", metrics.log_loss),
    )


def label_results(metrics: LabelMetrics) -> list[str]:
    """Return the figures of all labels, and a table of each."""
    low, high = (100 * share for share in metrics.accuracy_interval)
    lines = [
        f"Mean average precision **{100 * metrics.mean_average_precision:.2f} %**; F1 "
        f"{100 * metrics.f1_macro:.2f} % as a mean of the labels, {100 * metrics.f1_micro:.2f} % "
        f"of all labels together. Of {metrics.count:,} test images, {100 * metrics.accuracy:.2f} % "
        f"have all their labels right and no other (95 % interval {low:.2f} to {high:.2f} %).",
        "",
    ]
    rows = metrics.per_class
    if len(rows) > MANY_CLASSES:
        rows = tuple(sorted(rows, key=lambda row: row.average_precision or 2.0)[:LISTED])
        lines += [
            f"The {len(rows)} of {len(metrics.per_class):,} labels with the lowest average "
            "precision:",
            "",
        ]
    head = ("label", "precision", "recall", "F1", "average precision", "threshold", "images")
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)]


def _cells(row: LabelRow) -> list[str]:
    shares = (*row.shares, row.average_precision, row.threshold)
    told = ("-" if share is None else f"{100 * share:.1f} %" for share in shares)
    return [markdown_text(row.name), *told, f"{row.support:,}"]


def label_calibration(metrics: LabelMetrics) -> str:
    """Return how reliable the probabilities are, and when a label is given."""
    rows = metrics.per_class
    text = (
        "A label is given if its probability reaches its threshold, which was chosen on held-out "
        "images for the highest F1. The expected calibration error on the test images is "
        f"{100 * metrics.expected_calibration_error:.2f} %, the log loss {metrics.log_loss:.4f} "
        "(summed over the labels)."
    )
    usual = usual_thresholds([row.threshold for row in rows], [row.name for row in rows])
    return f"{text} A {markdown_text(usual)}, so no other could be chosen." if usual else text


def weak_labels(metrics: LabelMetrics, few: int) -> list[str]:
    """Return the label that is found worst, and how many labels have fewer than ``few`` images."""
    there = [row for row in metrics.per_class if row.average_precision is not None]
    lines = []
    if there:
        worst = min(there, key=lambda row: row.f1)
        lines.append(
            f"- The label with the lowest F1 is {markdown_text(worst.name)}, with "
            f"{100 * worst.f1:.1f} %."
        )
    count = sum(row.support < few for row in metrics.per_class)
    if count:
        lines.append(
            f"- {count:,} of {len(metrics.per_class):,} labels have fewer than {few} test images. "
            "Their figures are uncertain."
        )
    return lines
