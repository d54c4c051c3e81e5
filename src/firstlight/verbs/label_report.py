"""Sections of a run's page with its answers, for images with several labels.

Axes: N images, K labels.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.checked import joined_labels
from firstlight.data.dataset import Dataset
from firstlight.evaluate.label_calibration import usual_thresholds
from firstlight.evaluate.label_metrics import LabelRow, precision_and_recall
from firstlight.evaluate.metrics import MANY_CLASSES
from firstlight.evaluate.mistakes import worst_mistakes
from firstlight.evaluate.prediction import UNCALIBRATED
from firstlight.report import charts, images
from firstlight.report.page import Section, Table
from firstlight.report.picture import SERIES
from firstlight.runs.record import LabelAnswers
from firstlight.verbs.draw import Drawing

STRIP = 10


def label_strip(test: Dataset, answers: LabelAnswers) -> list[images.Answered]:
    """Test images from all over the set, with their answers."""
    return answered(test, answers, np.unique(np.linspace(0, len(test) - 1, STRIP).astype(int)))


def answered(test: Dataset, answers: LabelAnswers, rows: Iterable[int]) -> list[images.Answered]:
    """Images with the labels that they were given, and which of these are wrong."""

    def named(has_K: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(test.class_names[k] for k in np.flatnonzero(has_K).tolist())

    found = []
    for row in map(int, rows):
        true_K, given_K = answers.true_NK[row], answers.given_NK[row]
        missing, extra = named(true_K & ~given_K), named(given_K & ~true_K)
        faults = [f"missing: {joined_labels(missing)}"] if missing else []
        faults += [f"not there: {joined_labels(extra)}"] if extra else []
        found.append(
            images.Answered(
                image_HWC=test.images_NHWC[row],
                answer=joined_labels(named(given_K)),
                confidence=None,
                truth=joined_labels(named(true_K)),
                name=f"number {row}" if test.names is None else test.names[row],
                faults=tuple(faults),
            )
        )
    return found


def draw_label_answers(
    drawing: Drawing, test: Dataset, answers: LabelAnswers, *, calibrated: bool
) -> None:
    """Some images with their answers, and the worst mistakes."""
    some = label_strip(test, answers)
    right = sum(not item.wrong for item in some)
    drawing.add(
        "Predictions",
        "Some test images with the labels that the network gives them. None was seen in training. "
        "A wrong answer has a red frame; below it are the labels that are missing, and those that "
        "the image does not have."
        + ("" if calibrated else f" The probabilities are {UNCALIBRATED}."),
        (
            "predictions",
            images.prediction_strip(some),
            f"{len(some)} test images with the network's labels, {right} of them right",
        ),
    )
    worst = worst_mistakes(~answers.right, (-answers.losses).astype(np.float32))
    if len(worst):
        drawing.add(
            "Worst mistakes",
            "The wrong answers whose labels the network found least probable, all labels of an "
            "image together. Look here for wrong labels, for images that people would also get "
            "wrong, and for what is missing from the training data.",
            (
                "worst_mistakes",
                images.mistakes_page(answered(test, answers, worst.tolist())),
                f"The {len(worst)} wrong answers with the lowest probability for the true labels",
            ),
        )


def draw_label_metrics(drawing: Drawing, metrics: dict[str, Any], answers: LabelAnswers) -> None:
    """Precision against recall, and a table of all labels."""
    per_class = metrics["per_class"]
    ranked = [k for k, row in enumerate(per_class) if row["average_precision"] is not None]
    ranked.sort(key=lambda k: per_class[k]["average_precision"])
    shown = sorted(ranked[: len(SERIES)])
    least = per_class[ranked[0]] if ranked else None
    text = (
        "Left: each label's precision against its recall, as its threshold falls. The dot is the "
        "threshold that is used. "
        + (
            f"Of the {len(per_class)} labels, the {len(shown)} with the lowest average precision "
            "are shown. "
            if len(shown) < len(per_class)
            else ""
        )
        + "Right: calibration. Each bar groups all probabilities of all labels and shows the share "
        "of them whose image has the label. The orange lines show the stated probability: a bar "
        "that ends at its line is well calibrated."
    )
    alt = "Precision against recall of each label, and calibration"
    if least is not None:
        share = f"{100 * least['average_precision']:.1f} %"
        alt += f"; the lowest average precision is {share}, of {least['name']}"
    true_NK, stated_NK = answers.true_NK, answers.probabilities_NK
    curves = [_curve(per_class[k], true_NK[:, k], stated_NK[:, k]) for k in shown]
    figure = charts.label_trust(curves, stated_NK.ravel(), true_NK.ravel())
    drawing.add("Precision, recall and calibration", text, ("labels", figure, alt))
    table = Table(
        head=["label", "precision", "recall", "F1", "average precision", "threshold", "images"],
        rows=[[row["name"], *_cells(row)] for row in per_class],
    )
    text = (
        "A label is given where its probability reaches its threshold, which was chosen on "
        "held-out images, never on these. Precision: the share of images given this label that "
        "have it. Recall: the share of images with this label that were given it. F1: the harmonic "
        "mean of the two. Average precision: the precision at all thresholds, so it depends on "
        "none."
    )
    if usual := usual_thresholds(
        [row["threshold"] for row in per_class], [row["name"] for row in per_class]
    ):
        text += f" A {usual}, so no other could be chosen."
    many = len(per_class) > MANY_CLASSES
    drawing.sections.append(
        Section(title="Metrics of each label", text=text, table=table, folded=many)
    )


def _curve(
    row: dict[str, Any], has_N: npt.NDArray[np.bool_], probability_N: npt.NDArray[np.float32]
) -> charts.LabelCurve:
    precision_T, recall_T = precision_and_recall(has_N, probability_N)
    return charts.LabelCurve(
        name=row["name"],
        precision_T=precision_T,
        recall_T=recall_T,
        average_precision=row["average_precision"],
        chosen=(row["recall"], row["precision"]),
    )


def _cells(row: dict[str, Any]) -> list[str]:
    shares = [*LabelRow(**row).shares, row["average_precision"]]
    told = ["-" if share is None else f"{100 * share:.1f} %" for share in shares]
    return [*told, f"{100 * row['threshold']:.1f} %", f"{row['support']:,}"]
