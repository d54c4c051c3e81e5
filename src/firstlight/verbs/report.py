"""Draw a run: pictures under ``figures/``, and ``report.html`` with all of them inside.

Axes: N images, H height, W width, C channels, K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, nn

from firstlight.augment.batch import augment
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.errors import DataError, UserError
from firstlight.evaluate.mistakes import worst_mistakes
from firstlight.recipe import AugmentChoice, Recipe
from firstlight.report import charts, images
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.report.picture import Picture
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import Answers, read_answers, read_epochs
from firstlight.training.randomness import reseed
from firstlight.verbs.facts import facts, headline, where
from firstlight.verbs.predict import Prediction
from firstlight.verbs.run_data import data_of_run

STRIP = 10
VIEWS = 11


class _Drawing:
    """Sections of one run's page; each picture is also written under ``figures/``."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.sections: list[Section] = []

    def add(self, title: str, text: str, *pictures: tuple[str, Picture, str]) -> None:
        """One section; each picture is (file stem, picture, alternative text)."""
        shown = []
        for stem, picture, alt in pictures:
            png = picture.png()
            self._folder.write(f"figures/{stem}.png", png)
            shown.append(Shown(png=png, alt=alt))
        self.sections.append(Section(title=title, text=text, pictures=shown))


def report(
    folder: RunFolder,
    *,
    data_dir: Path | None = None,
    data: TrainTest | None = None,
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write ``figures/*.png`` and ``report.html``; returns the page's path.

    What needs the data or the test-set metrics is left out, with a note on the page, where they
    are missing; ``warn`` hears why there is no data.
    Raises ``UserError`` for an unfinished run and ``DataError`` for a damaged one.
    """
    folder.require_finished()
    recipe = folder.recipe()
    summary, described = folder.read_json("summary.json"), folder.read_json("data.json")
    environment = folder.read_json("environment.json")
    metrics = _metrics(folder)
    found, missing = _data(folder, data_dir, data)
    if missing and warn is not None:
        warn(missing)
    saved = load_model(folder)
    drawing = _Drawing(folder)
    try:
        if metrics is not None:
            answers = read_answers(folder)
            if found is not None:
                threshold = None if saved.calibration is None else saved.calibration.threshold
                _draw_answers(drawing, found.test, answers, threshold)
        _draw_training(drawing, folder, described)
        if metrics is not None:
            _draw_metrics(drawing, metrics)
        if found is not None:
            _draw_data(drawing, found.train, recipe, saved)
        _draw_filters(drawing, saved.model)
        drawing.sections += facts(folder, recipe, described, environment, saved)
        page = Page(
            title=folder.name,
            lead=f"{described['name']}, recipe {recipe.name}, seed {recipe.train.seed}; "
            f"trained {environment['started'][:10]} on {where(environment)}",
            figures=headline(summary, metrics),
            sections=[*_notes(folder, metrics, missing), *drawing.sections],
            foot=f"Made by firstlight {environment['firstlight']}. "
            "This page is one file and loads nothing from elsewhere.",
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{folder}: its files do not fit together: {error!r}") from error
    return folder.write("report.html", render(page))


def prediction_strip_figure(folder: RunFolder, *, data: TrainTest | None = None) -> Picture:
    """The first ten test images with the run's answers; the run has been evaluated."""
    found = data_of_run(folder, data=data)
    return images.prediction_strip(
        _answered(found.test, read_answers(folder), range(min(STRIP, len(found.test))))
    )


def prediction_grid(predictions: Sequence[Prediction]) -> bytes:
    """Pictures with their answers as a PNG; those that could not be read are left out."""
    items = [
        images.Answered(
            image_HWC=p.image_HWC, answer=p.answer, confidence=p.confidence, name=Path(p.name).name
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


def _data(
    folder: RunFolder, data_dir: Path | None, data: TrainTest | None
) -> tuple[TrainTest | None, str]:
    """The run's data, or why the page has to do without."""
    try:
        return data_of_run(folder, data_dir, data), ""
    except (DataError, UserError) as error:
        return None, str(error)


def _notes(folder: RunFolder, metrics: dict[str, Any] | None, missing: str) -> list[Section]:
    notes = []
    if metrics is None:
        text = "This run was not measured on its test set yet. Do that with:"
        notes.append(
            Section(title="Not evaluated", text=text, code=f"firstlight evaluate {folder}")
        )
    if missing:
        text = "The pictures that need the images themselves are left out:"
        notes.append(Section(title="Data not found", text=text, code=missing))
    return notes


def _answered(test: Dataset, answers: Answers, indices: Iterable[int]) -> list[images.Answered]:
    names = test.class_names
    return [
        images.Answered(
            image_HWC=test.images_NHWC[i],
            answer=names[answers.predicted_N[i]],
            confidence=float(answers.probabilities_NK[i].max()),
            truth=names[answers.true_N[i]],
            name=f"number {i}",
        )
        for i in indices
    ]


def _draw_answers(
    drawing: _Drawing, test: Dataset, answers: Answers, threshold: float | None
) -> None:
    first = _answered(test, answers, range(min(STRIP, len(test))))
    right = sum(item.answer == item.truth for item in first)
    drawing.add(
        "What it says",
        f"The first {len(first)} test images, none of them seen in training, with the network's "
        "answer and its confidence. A wrong answer is framed in red and the truth stands below.",
        (
            "predictions",
            images.prediction_strip(first),
            f"{len(first)} test images with the network's answers, {right} of them right",
        ),
    )
    drawing.add(
        "How far to believe it",
        "Left: of the answers given with about so much probability, the share that is right; the "
        "orange lines are what was promised, so bars that end at them are honest; the numbers "
        "count the images. Right: the accuracy if only the surest answers are taken.",
        (
            "trust",
            charts.trust(
                answers.probabilities_NK.max(axis=1),
                answers.predicted_N == answers.true_N,
                threshold,
            ),
            "Share of right answers by stated probability, and accuracy by share answered",
        ),
    )
    worst = worst_mistakes(answers.true_N, answers.probabilities_NK)
    if len(worst):
        drawing.add(
            "Worst mistakes",
            "The wrong answers in which the truth was given the least probability. Look here for "
            "mislabelled images, for what people would get wrong too, and for what is missing in "
            "the training data.",
            (
                "worst_mistakes",
                images.mistakes_page(_answered(test, answers, worst.tolist())),
                f"The {len(worst)} wrong answers with the least probability for the truth",
            ),
        )


def _draw_training(drawing: _Drawing, folder: RunFolder, described: dict[str, Any]) -> None:
    epochs = read_epochs(folder)
    watched = described["validated_on"]
    validated = None
    if watched is not None:
        validated = "test" if watched["name"].endswith("/test") else "held out"
        validated = f"{validated} ({watched['images']:,} images)"
    last = epochs[-1]
    if len(epochs) == 1:
        shares = [f"{100 * (last['train_accuracy'] or 0):.2f} % of the training images"]
        if last["validation_accuracy"] is not None:
            shares.append(f"{100 * last['validation_accuracy']:.2f} % of those {validated}")
        text = f"There was one pass or less: it ended with {' and '.join(shares)} right."
        drawing.sections.append(Section(title="Training", text=text))
        return
    drawing.add(
        "Training",
        "Where the two curves part, the network begins to learn its training images by heart. "
        "Training accuracy is measured while the weights still move, and with augmentation and "
        "dropout on, so it may lie below the other.",
        (
            "training_curves",
            charts.training_curves(epochs, validated),
            f"Loss and accuracy over {len(epochs)} epochs; training loss ends at "
            f"{last['train_loss']:.3f}",
        ),
    )


def _draw_metrics(drawing: _Drawing, metrics: dict[str, Any]) -> None:
    per_class = metrics["per_class"]
    names = [row["name"] for row in per_class]
    confused = metrics["most_confused"]
    worst = confused[0] if confused else None
    text = "Each row is a true class, each column an answer; right answers lie on the diagonal."
    if worst is not None:
        text += (
            f" The most frequent mistake: {worst['true']} taken for {worst['predicted']}, "
            f"{worst['count']} times, {100 * worst['share']:.1f} % of all {worst['true']}."
        )
    alt = "Confusion matrix, {}; the diagonal holds {} of {} images"
    right = metrics["correct"]
    drawing.add(
        "What is taken for what",
        text,
        *(
            (
                stem,
                charts.confusion(metrics["confusion"], names, normalised=normalised),
                alt.format(what, right, metrics["count"]),
            )
            for stem, normalised, what in (
                ("confusion_counts", False, "counts"),
                ("confusion_normalised", True, "share of each true class"),
            )
        ),
    )
    recalls = [row["recall"] for row in per_class]
    least = min(per_class, key=lambda row: row["recall"])
    drawing.add(
        "Class by class",
        "",
        (
            "class_accuracy",
            charts.class_accuracy(names, recalls, metrics["accuracy"]),
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
        "Precision: of all answers of this class, the share that is right. Recall: of all images "
        "of this class, the share found. F1: their harmonic mean."
    )
    table = Table(head=["class", "precision", "recall", "F1", "images"], rows=rows)
    drawing.sections.append(Section(title="The same in numbers", text=text, table=table))


def _draw_data(drawing: _Drawing, train: Dataset, recipe: Recipe, saved: SavedModel) -> None:
    by_class = [
        train.images_NHWC[np.flatnonzero(train.labels_N == k)[:10]]
        for k in range(len(train.class_names))
    ]
    drawing.add(
        "What it learnt from",
        "The first training images of each class.",
        (
            "class_samples",
            images.class_samples(by_class, train.class_names),
            f"Training images of the classes {', '.join(train.class_names)}",
        ),
    )
    choice = recipe.augment
    original_1HWC = train.images_NHWC[:1]
    plain = replace(
        saved.preprocess, mean=(0.0,) * original_1HWC.shape[3], std=(1.0,) * original_1HWC.shape[3]
    )
    views_NCHW = augment(
        plain(torch.from_numpy(original_1HWC).expand(VIEWS, -1, -1, -1)),
        replace(choice, enabled=True),
        torch.arange(VIEWS) % 2 == 1,
        0,
        reseed(Generator(), recipe.train.seed, "augment", 0),
    )
    what = _in_words(choice)
    if choice.enabled:
        text = f"In training each image is, anew each time it is seen, {what}."
    else:
        text = f"Not used in this run. With augment.enabled=true each image would be {what}."
    drawing.add(
        "Augmentation",
        text,
        (
            "augmentation",
            images.augmentation_views(original_1HWC[0], views_NCHW.permute(0, 2, 3, 1).numpy()),
            f"One training image and {VIEWS} views of it, {what}",
        ),
    )


def _in_words(choice: AugmentChoice) -> str:
    """What the augmentation does to an image, to be read after "is" or "would be"."""
    words = []
    if choice.rotation_degrees > 0 or choice.shift_fraction > 0:
        words.append(
            f"turned by up to {choice.rotation_degrees:g}° and shifted by up to "
            f"{100 * choice.shift_fraction:g} % of its side"
        )
    elif choice.shift_pixels > 0:
        words.append(f"shifted by up to {choice.shift_pixels} pixels")
    if choice.flip:
        words.append("mirrored every other time" if choice.alternate_flips else "mirrored or not")
    if choice.cutout_pixels > 0:
        words.append(f"robbed of a square of {choice.cutout_pixels} pixels")
    if choice.mix != "none":
        words.append(f"mixed with another ({choice.mix}, not drawn here)")
    return ", ".join(words) or "left as it is"


def _draw_filters(drawing: _Drawing, model: nn.Module) -> None:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.in_channels not in (1, 3):
        return
    filters_OCHW = first.weight.detach().cpu().contiguous().numpy()
    kind = (
        "Blue weights are negative, red ones positive: a filter answers where the image is bright "
        "under red and dark under blue."
        if first.in_channels == 1
        else "Each filter as a small colour image, stretched to its own range."
    )
    drawing.add(
        "First-layer filters",
        f"The {len(filters_OCHW)} filters through which the network sees the image. {kind}",
        (
            "filters",
            images.first_layer_filters(filters_OCHW),
            f"{len(filters_OCHW)} filters of {first.kernel_size[0]}×{first.kernel_size[1]} pixels",
        ),
    )
