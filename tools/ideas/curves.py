"""Figures of whole runs: losses, learning rates, calibration. Axes: N images, K classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)
from torch import Generator

from firstlight import schedules
from firstlight.augment.augmentation import Seen
from firstlight.augment.batch import augment
from firstlight.data.dataset import TrainTest
from firstlight.data.split import limit
from firstlight.evaluate.metrics import CALIBRATION_BINS, calibration_error
from firstlight.evaluate.predict import probabilities
from firstlight.report.images import show
from firstlight.report.picture import BLUE, FAINT, GREEN, ORANGE, SavedFigure, bare, style
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import open_run_folder
from firstlight.training.randomness import reseed
from ideas import WIDTH
from ideas.runs import OVERFITTING, RATES, SWEPT, TEST_IMAGES, Ran, at_rate, swept

Runs = Mapping[str, Ran]
PLAIN, AUGMENTED, DROPOUT = OVERFITTING
GRID = "#e4e7eb"
VIEWS = 5
VIEWED = 7
"""Index of the training image that is augmented."""
BINS = CALIBRATION_BINS
LEAST = 20
"""With fewer images a share means little, and no bar is drawn."""


def overfitting(runs: Runs) -> SavedFigure:
    """Plot the losses of the run that trains for too long."""
    run = runs[PLAIN]
    with style():
        picture = SavedFigure(WIDTH, 2.6)
        axes = picture.add_subplot()
        losses(axes, run.training_losses, BLUE, "training", dashed=True)
        losses(axes, run.validation_losses, BLUE, "validation")
        lowest = min(run.validation_losses)
        axes.plot(run.best, lowest, "o", color=ORANGE, markersize=8, zorder=3)
        axes.annotate(
            f"lowest: {lowest:.2f}, epoch {run.best}",
            (run.best, lowest),
            xytext=(0, 24),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
        by_epoch(axes)
    return picture


def augmentation(runs: Runs, data: TrainTest) -> SavedFigure:
    """Show an image as the augmented run sees it, and plot the losses of both runs."""
    with style():
        picture = SavedFigure(WIDTH, 3.5)
        above, below = picture.subfigures(2, 1, squeeze=False, height_ratios=(1, 3.2))[:, 0]
        seen = views(runs[AUGMENTED], data)
        for number, (axes, image_HWC) in enumerate(
            zip(above.subplots(1, len(seen)), seen, strict=True)
        ):
            show(axes, image_HWC)
            bare(axes)
            axes.set_title("original" if number == 0 else " ", fontsize=8.5, pad=3)
        beside(below.add_subplot(), runs, AUGMENTED, "augmented")
    return picture


def views(run: Ran, data: TrainTest) -> list[npt.NDArray[np.float32]]:
    """Return one training image and its augmented versions, each in [0, 1]."""
    image_1HWC = torch.from_numpy(data.train.images_NHWC[VIEWED : VIEWED + 1])
    saved = load_model(open_run_folder(run.folder))
    pixels_BCHW = saved.preprocess(image_1HWC).repeat(VIEWS, 1, 1, 1)
    mean_C, std_C = saved.preprocess.mean, saved.preprocess.std
    mirrored_B = torch.zeros(VIEWS, dtype=torch.bool)
    rng = reseed(Generator(), 0, "step", 0)
    changed = augment(pixels_BCHW, run.recipe.augment, Seen(mirrored_B, mean_C, std_C), rng)
    pixels_NHWC = torch.cat([pixels_BCHW[:1], changed]).permute(0, 2, 3, 1)
    return list((pixels_NHWC * torch.tensor(std_C) + torch.tensor(mean_C)).numpy())


def dropout(runs: Runs) -> SavedFigure:
    """Plot the losses with and without dropout."""
    with style():
        picture = SavedFigure(WIDTH, 2.6)
        beside(picture.add_subplot(), runs, DROPOUT, "dropout")
    return picture


def beside(axes: Axes, runs: Runs, other: str, label: str) -> None:
    """Plot the losses of the plain run and of another one."""
    for name, colour, words in ((PLAIN, BLUE, "plain"), (other, ORANGE, label)):
        losses(axes, runs[name].validation_losses, colour, f"{words}, validation")
        losses(axes, runs[name].training_losses, colour, f"{words}, training", dashed=True)
    by_epoch(axes)


def batch_norm(runs: Runs) -> SavedFigure:
    """Plot the validation loss after two epochs against the learning rate, with and without batch
    norm."""
    with style():
        picture = SavedFigure(WIDTH, 2.6)
        axes = picture.add_subplot()
        for normed, colour, label in ((False, BLUE, "without"), (True, ORANGE, "with batch norm")):
            ends = [runs[swept(rate, normed)].validation_losses[-1] for rate in SWEPT]
            axes.plot(SWEPT, ends, "o-", color=colour, label=label)
        axes.set_xscale("log")
        axes.set_xticks(SWEPT)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("learning rate")
        axes.set_ylabel("validation loss")
        axes.set_ylim(0, 2.75)
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        axes.legend(loc="upper left", ncols=2, fontsize=9)
    return picture


def learning_rate(runs: Runs) -> SavedFigure:
    """Plot the training loss at three learning rates."""
    with style():
        picture = SavedFigure(WIDTH, 2.6)
        axes = picture.add_subplot()
        words = ("too small", "good", "too large")
        for rate, colour, said in zip(RATES, (BLUE, GREEN, ORANGE), words, strict=True):
            losses(axes, runs[at_rate(rate)].training_losses, colour, f"{rate:g}: {said}")
        by_epoch(axes)
        axes.set_ylabel("training loss")
        axes.legend(loc="center right", fontsize=9)
    return picture


def schedule() -> SavedFigure:
    """Plot each schedule's learning rate over a run."""
    done = np.linspace(0, 1, 401)
    kinds = (schedules.Constant(), schedules.Steps(), schedules.Cosine(), schedules.OneCycle())
    with style():
        picture = SavedFigure(WIDTH, 2.3)
        axes = picture.add_subplot()
        for kind, colour in zip(kinds, (FAINT, BLUE, GREEN, ORANGE), strict=True):
            shares = [kind.factor(share) for share in done.tolist()]
            axes.plot(done, shares, color=colour, linewidth=2, label=kind.kind)
        axes.set_ylim(0, 1.08)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_xlabel("of the training done")
        axes.set_ylabel("of the peak rate")
        picture.legend(loc="outside upper center", ncols=4, fontsize=9, columnspacing=1)
    return picture


def calibration(runs: Runs, data: TrainTest) -> SavedFigure:
    """Plot how often answers with each probability are right, before and after temperature
    scaling."""
    saved, test = load_model(open_run_folder(runs[PLAIN].folder)), limit(data.test, TEST_IMAGES)
    with style():
        picture = SavedFigure(WIDTH, 2.6)
        panels = picture.subplots(1, 2, sharey=True)
        for axes, temperature in zip(panels, (1.0, saved.temperature), strict=True):
            answers_NK = probabilities(
                saved.model, saved.preprocess, test.images_NHWC, temperature=temperature
            )
            reliability(axes, answers_NK, test.labels_N)
            error = calibration_error(test.labels_N, answers_NK)
            words = f"temperature {temperature:.2f}\ncalibration error {100 * error:.0f} %"
            axes.set_title(words, fontsize=9)
        picture.supxlabel("stated probability of the answer", fontsize=9.5)
        panels[0].set_ylabel("share that is correct")
    return picture


def reliability(
    axes: Axes, answers_NK: npt.NDArray[np.float32], labels_N: npt.NDArray[np.int64]
) -> None:
    """Draw a bar for each bin of the calibration error; ideally it ends at the dashed line."""
    confidence_N = answers_NK.max(axis=1)
    right_N = answers_NK.argmax(axis=1) == labels_N
    bins_N = np.clip(np.ceil(confidence_N * BINS) - 1, 0, BINS - 1).astype(int)
    for number in np.unique(bins_N).tolist():
        inside_N = bins_N == number
        if inside_N.sum() >= LEAST:
            share = right_N[inside_N].mean()
            axes.bar((number + 0.5) / BINS, share, width=0.92 / BINS, color=BLUE)
    axes.plot([0, 1], [0, 1], color=ORANGE, linewidth=1.5, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0, 0.5, 1]))
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def losses(
    axes: Axes, values: Sequence[float], colour: str, label: str, *, dashed: bool = False
) -> None:
    """Draw one line with a point per epoch."""
    line = "--" if dashed else "-"
    axes.plot(range(1, len(values) + 1), values, line, color=colour, linewidth=2, label=label)


def by_epoch(axes: Axes) -> None:
    """Format axes for curves over epochs."""
    axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", fontsize=9)
