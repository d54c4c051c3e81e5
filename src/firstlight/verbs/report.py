"""Draw a run: figures under ``figures/``, and ``report.html``, which contains all of them.

Axes: N images, H height, W width, C channels, K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.errors import DataError
from firstlight.evaluate.learnt import nothing_learnt
from firstlight.evaluate.metrics import MANY_CLASSES, confusion_counts
from firstlight.evaluate.mistakes import worst_mistakes
from firstlight.evaluate.prediction import UNCALIBRATED, Prediction
from firstlight.evaluate.robustness import corrupt
from firstlight.evaluate.task import metrics_from_json
from firstlight.model import RunModel, run_model
from firstlight.report import charts, images
from firstlight.report.page import Page, Section, Table, render
from firstlight.report.picture import SavedFigure
from firstlight.report.robustness import corruption_samples, robustness_curves
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import Answers, AnyAnswers, LabelAnswers, read_any_answers
from firstlight.verbs.draw import Drawing, draw_data, draw_filters, draw_training
from firstlight.verbs.facts import facts, headline, where
from firstlight.verbs.fit import side_of
from firstlight.verbs.label_report import draw_label_answers, draw_label_metrics, label_strip
from firstlight.verbs.run_data import Given, data_or_reason, run_test_data

STRIP = 10
DRAWN = 40
"""Most classes in a figure."""


def report(
    folder: RunFolder,
    *,
    data_dir: Path | None = None,
    data: Given = None,
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write ``figures/*.png`` and ``report.html``, and return the path of the page.

    Sections that need missing data or test-set metrics are left out, with a note on the page;
    ``warn`` is called with the reason for missing data. Raises ``UserError`` for an unfinished run
    and ``DataError`` for a damaged one.
    """
    folder.require_finished()
    recipe = folder.recipe()
    summary, described = folder.read_json("summary.json"), folder.read_json("data.json")
    environment = folder.read_json("environment.json")
    metrics = _metrics(folder)
    found, missing = data_or_reason(folder, data_dir, data)
    if missing and warn is not None:
        warn(missing)
    model = run_model(folder)
    drawing = Drawing(folder)
    answers = None
    try:
        if metrics is not None:
            answers = read_any_answers(folder)
            if found is not None:
                _draw_any_answers(drawing, found.test, answers, model)
        draw_training(drawing, folder, described, trained=summary["steps"] > 0)
        if metrics is not None:
            if isinstance(answers, LabelAnswers):
                draw_label_metrics(drawing, metrics, answers)
            else:
                _draw_metrics(drawing, metrics)
        if (folder.path / "robustness.json").is_file():
            _draw_robustness(drawing, folder.read_json("robustness.json"), found)
        if found is not None:
            draw_data(drawing, found.train, recipe, model.preprocess)
        draw_filters(drawing, model.saved.model)
        drawing.sections += facts(
            folder, recipe, described, environment, model.saved, trained=summary["steps"] > 0
        )
        page = Page(
            title=folder.name,
            lead=f"{described['name']}, recipe {recipe.name}, seed {recipe.train.seed}; "
            f"{'trained' if summary['steps'] else 'made'} {environment['started'][:10]} "
            f"on {where(environment)}",
            figures=headline(summary, metrics),
            sections=[*_notes(folder, metrics, missing, summary), *drawing.sections],
            foot=(
                f"Made by firstlight {environment['firstlight']}. This page is a single file and "
                "loads nothing else."
            ),
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{folder}: its files do not match each other: {error!r}") from error
    return folder.write("report.html", render(page))


def prediction_strip_figure(folder: RunFolder, *, data: Given = None) -> SavedFigure:
    """Return ten test images with the run's answers; the run must have been evaluated."""
    test = run_test_data(folder, data=data)
    answers = read_any_answers(folder)
    if isinstance(answers, LabelAnswers):
        return images.prediction_strip(label_strip(test, answers))
    return images.prediction_strip(_answered(test, answers, of_every_class(test.labels_N)))


def prediction_grid(predictions: Sequence[Prediction]) -> bytes:
    """Return pictures with their answers as a PNG; those that could not be read are left out."""
    items = [
        images.Answered(
            image_HWC=p.image_HWC,
            answer=p.answer,
            confidence=p.confidence if p.labels is None else None,
            name=Path(p.name).name,
        )
        for p in predictions
        if p.image_HWC is not None and p.answer is not None and p.confidence is not None
    ]
    return images.prediction_grid(items).png()


def _metrics(folder: RunFolder) -> dict[str, Any] | None:
    if not (folder.path / "metrics.json").is_file():
        return None
    metrics: dict[str, Any] = folder.read_json("metrics.json")
    return metrics


def _notes(
    folder: RunFolder, metrics: dict[str, Any] | None, missing: str, summary: dict[str, Any]
) -> list[Section]:
    notes = []
    why = "" if metrics is None else nothing_learnt(metrics_from_json(metrics))
    if text := f"The network has learned nothing: {why}." if why else summary.get("nothing_learnt"):
        notes.append(Section(title="No better than a guess", text=text[0].upper() + text[1:]))
    side = side_of(folder)
    if side is not None and side.held_out is not None:
        notes.append(Section(title="Compared with another network", text=side.told))
    if metrics is None:
        text = "This run has not been evaluated on its test set yet. Evaluate it with:"
        notes.append(
            Section(title="Not evaluated", text=text, code=f"firstlight evaluate {folder}")
        )
    if missing:
        text = "Figures that need the images are left out:"
        notes.append(Section(title="Data not found", text=text, code=missing))
    return notes


def of_every_class(labels_N: npt.NDArray[np.int64]) -> list[int]:
    """Return indices of ``STRIP`` images by class: the first of each class, then the second, and so
    on. With more classes than that, evenly spaced ones are shown."""
    classes_K = np.unique(labels_N)
    if len(classes_K) > STRIP:
        classes_K = classes_K[np.arange(STRIP) * len(classes_K) // STRIP]
    turns = [np.flatnonzero(labels_N == label)[:STRIP].tolist() for label in classes_K]
    chosen = [turn[at] for at in range(STRIP) for turn in turns if at < len(turn)][:STRIP]
    return sorted(chosen, key=lambda number: (labels_N[number], number))


def _answered(test: Dataset, answers: Answers, indices: Iterable[int]) -> list[images.Answered]:
    names = test.class_names
    return [
        images.Answered(
            image_HWC=test.images_NHWC[i],
            answer=names[answers.predicted_N[i]],
            confidence=float(answers.confidence_N[i]),
            truth=names[answers.true_N[i]],
            name=f"number {i}" if test.names is None else test.names[i],
        )
        for i in indices
    ]


def _draw_any_answers(
    drawing: Drawing, test: Dataset, answers: AnyAnswers, model: RunModel
) -> None:
    calibrated = model.calibration is not None
    if isinstance(answers, LabelAnswers):
        draw_label_answers(drawing, test, answers, calibrated=calibrated)
    else:
        _draw_answers(drawing, test, answers, model.threshold if calibrated else None)


def _draw_answers(
    drawing: Drawing, test: Dataset, answers: Answers, threshold: float | None
) -> None:
    some = _answered(test, answers, of_every_class(test.labels_N))
    right = sum(item.answer == item.truth for item in some)
    drawing.add(
        "Predictions",
        "The first test images of each class, with the network's answer and its confidence. None "
        "was seen in training. A wrong answer has a red frame and the correct class below it.",
        (
            "predictions",
            images.prediction_strip(some),
            f"{len(some)} test images with the network's answers, {right} of them right",
        ),
    )
    drawing.add(
        "Calibration",
        "Left: calibration. Each bar groups answers by their stated probability and shows the "
        "share that is correct. The orange lines show the stated probability: a bar that ends "
        "at its line is well calibrated. The numbers count the images. Right: the accuracy if "
        "only the most confident answers are used."
        + ("" if threshold is not None else f" The probabilities are {UNCALIBRATED}."),
        (
            "trust",
            charts.trust(
                answers.confidence_N,
                answers.predicted_N == answers.true_N,
                threshold,
            ),
            "Share of correct answers by stated probability, and accuracy by share answered",
        ),
    )
    worst = worst_mistakes(answers.true_N != answers.predicted_N, answers.truth_N)
    if len(worst):
        drawing.add(
            "Worst mistakes",
            "The wrong answers that gave the correct class the lowest probability. Look here "
            "for wrong labels, for images that people would also get wrong, and for what is "
            "missing from the training data.",
            (
                "worst_mistakes",
                images.mistakes_page(_answered(test, answers, worst.tolist())),
                f"The {len(worst)} wrong answers with the lowest probability for the correct class",
            ),
        )


def _draw_metrics(drawing: Drawing, metrics: dict[str, Any]) -> None:
    per_class = metrics["per_class"]
    counts_KK = confusion_counts(metrics["confusion"], len(per_class))
    shown = _most_mistaken(counts_KK)
    names = [per_class[k]["name"] for k in shown]
    confused = metrics["most_confused"]
    worst = confused[0] if confused else None
    text = "Each row is a true class, each column an answer. Correct answers are on the diagonal."
    if worst is not None:
        text += (
            f" The most frequent mistake: {worst['true']} mistaken for {worst['predicted']}, "
            f"{worst['count']} times, {100 * worst['share']:.1f} % of all {worst['true']}."
        )
    if len(shown) < len(per_class):
        text += (
            f" Only the {len(shown)} of {len(per_class):,} classes with the most mistakes are "
            "shown."
        )
    alt = "Confusion matrix, {}; the diagonal holds {} of {} images"
    right = metrics["correct"]
    drawing.add(
        "Confusion matrix",
        text,
        *(
            (
                stem,
                charts.confusion(counts_KK, names, normalised=normalised, shown=shown),
                alt.format(what, right, metrics["count"]),
            )
            for stem, normalised, what in (
                ("confusion_counts", False, "counts"),
                ("confusion_normalised", True, "share of each true class"),
            )
        ),
    )
    lowest = sorted(per_class, key=lambda row: row["recall"])[: len(shown)]
    least = lowest[0]
    bars = per_class if len(shown) == len(per_class) else lowest
    drawing.add(
        "Accuracy of each class",
        "" if bars is per_class else f"The {len(bars)} classes with the lowest recall.",
        (
            "class_accuracy",
            charts.class_accuracy(
                [row["name"] for row in bars],
                [row["recall"] for row in bars],
                metrics["accuracy"],
            ),
            f"Accuracy of each class; lowest {least['name']} with {100 * least['recall']:.1f} %",
        ),
    )
    rows = [
        [
            row["name"],
            *(f"{100 * row[k]:.1f} %" for k in ("precision", "recall", "f1")),
            f"{row['support']:,}",
        ]
        for row in per_class
    ]
    text = (
        "Precision: the share of answers of this class that are correct. Recall: the share of "
        "images of this class that were found. F1: the harmonic mean of the two."
    )
    table = Table(head=["class", "precision", "recall", "F1", "images"], rows=rows)
    many = len(per_class) > MANY_CLASSES
    drawing.sections.append(
        Section(title="Metrics of each class", text=text, table=table, folded=many)
    )


def _most_mistaken(counts_KK: npt.NDArray[np.int64]) -> list[int]:
    """Return the classes to draw, in order: all, or of many those with the most mistakes."""
    classes = len(counts_KK)
    if classes <= MANY_CLASSES:
        return list(range(classes))
    mistakes_K = counts_KK.sum(axis=0) + counts_KK.sum(axis=1) - 2 * counts_KK.diagonal()
    return sorted(np.argsort(-mistakes_K, kind="stable")[:DRAWN].tolist())


def _draw_robustness(drawing: Drawing, measured: dict[str, Any], found: TrainTest | None) -> None:
    curves = measured["curves"]
    worst = min(curves, key=lambda kind: curves[kind][-1]["accuracy"])
    pictures = [
        (
            "robustness",
            robustness_curves(curves),
            f"Accuracy under six corruptions; lowest under {worst} at strength 5 with "
            f"{100 * curves[worst][-1]['accuracy']:.1f} %",
        )
    ]
    if found is not None:
        image_1HWC = found.test.images_NHWC[:1]
        strips = {
            kind: [image_1HWC[0], *(corrupt(image_1HWC, kind, s)[0] for s in range(1, 6))]
            for kind in curves
        }
        alt = f"One test image under {', '.join(strips)}, at five strengths"
        pictures.append(("corruptions", corruption_samples(strips), alt))
    drawing.add(
        "Robustness",
        f"Accuracy on {measured['images']:,} corrupted test images, with its 95 % interval. The "
        "dashed line is the accuracy on the original images. Below, one image under each "
        "corruption: if you cannot recognise it any more, do not expect a network to.",
        *pictures,
    )
