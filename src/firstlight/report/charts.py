"""Charts of numbers. Axes: K classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from firstlight.evaluate.calibrate import accuracy_at_coverage
from firstlight.report.picture import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PAPER,
    SERIES,
    SavedFigure,
    fitted,
    style,
)

Epochs = Sequence[Mapping[str, float | None]]
"""The lines of ``epochs.csv``."""


@dataclass(frozen=True, kw_only=True)
class RunScore:
    """One run's test accuracy, for a comparison."""

    name: str
    accuracy: float
    interval: tuple[float, float]


def training_curves(
    epochs: Epochs, validated_on: str | None, accuracy: str = "accuracy"
) -> SavedFigure:
    """Plot loss and accuracy (named by ``accuracy``) after each epoch, in training and on the named
    images."""
    with style():
        picture = SavedFigure(8.4, 3.1)
        loss_axes, accuracy_axes = picture.subplots(1, 2)
        for axes, what in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
            _curve(axes, epochs, f"train_{what}", "training", BLUE)
            if validated_on is not None:
                _curve(axes, epochs, f"validation_{what}", validated_on, ORANGE)
            axes.set_title((what if axes is loss_axes else accuracy).capitalize(), loc="left")
            _epoch_axis(axes, len(epochs))
        accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        loss_axes.set_ylim(0, 1.08 * loss_axes.get_ylim()[1])
        loss_axes.legend(loc="best")
    return picture


def confusion(
    counts_KK: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    normalised: bool,
    shown: Sequence[int] | None = None,
) -> SavedFigure:
    """Plot a confusion matrix: rows are true classes, columns answers. Normalized rows sum to 100
    %.

    ``shown`` are the indices of the classes to draw if there are more; they have the names.
    """
    counts = np.asarray(counts_KK, dtype=np.int64)
    per_row = counts.sum(axis=1, keepdims=True)
    if shown is not None:
        counts, per_row = counts[np.ix_(shown, shown)], per_row[shown]
    shares = counts / np.maximum(per_row, 1)
    k = len(class_names)
    side = max(4.0, min(11.0, 1.2 + 0.41 * k))
    with style():
        picture = SavedFigure(side, side * 0.94)
        axes = picture.add_subplot()
        # The square root keeps the few mistakes visible beside the many right answers.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1.05)
        names = [fitted(name, 12) for name in class_names]
        tilt = 0 if max(len(n) for n in names) <= 3 else 45
        axes.set_xticks(
            range(k), names, rotation=tilt, ha="right" if tilt else "center", rotation_mode="anchor"
        )
        if not tilt:
            axes.tick_params(axis="x", pad=10)
        axes.set_yticks(range(k), names)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")
        if k <= 25:
            for row in range(k):
                for column in range(k):
                    if counts[row, column]:
                        share = 100 * shares[row, column]
                        # Do not round 99.96 % to 100 %.
                        percent = f"{share:.1f}" if share < 99.95 or share == 100 else ">99.9"
                        axes.text(
                            column,
                            row,
                            percent if normalised else f"{counts[row, column]}",
                            ha="center",
                            va="center",
                            fontsize=7.5,
                            color=PAPER if shares[row, column] > 0.4 else INK,
                        )
        axes.set_title(
            "Share of each true class, %" if normalised else "Number of images", loc="left"
        )
    return picture


def class_accuracy(
    class_names: Sequence[str], recalls: Sequence[float], overall: float
) -> SavedFigure:
    """Plot the accuracy of each class beside the overall accuracy.

    It uses points rather than bars: bars would have to start at zero, where accuracies close to one
    look the same.
    """
    k, least = len(class_names), min(*recalls, overall)
    span = max(1.0 - least, 0.02)
    with style():
        picture = SavedFigure(8.4, 0.9 + 0.3 * k)
        axes = picture.add_subplot()
        axes.hlines(range(k), overall, recalls, color=BLUE, linewidth=2)
        axes.plot(recalls, range(k), "o", color=BLUE, markersize=7)
        axes.axvline(overall, color=INK, linewidth=1, linestyle="--")
        axes.set_yticks(range(k), [fitted(name, 18) for name in class_names])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(least - 0.13 * span, 1 + 0.13 * span)
        ticks = MaxNLocator(6).tick_values(least - 0.1 * span, 1.0)
        axes.set_xticks([tick for tick in ticks if least - 0.13 * span <= tick <= 1.0])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        for row, recall in enumerate(recalls):
            below = recall < overall
            axes.text(
                recall + (-0.018 if below else 0.018) * span,
                row,
                f"{100 * recall:.1f} %",
                va="center",
                ha="right" if below else "left",
                fontsize=9,
            )
        axes.set_title(
            f"Accuracy of each class; the dashed line is all: {100 * overall:.1f} %",
            loc="left",
            fontsize=10,
            fontweight="normal",
        )
        axes.spines["left"].set_visible(False)
    return picture


def comparison_curves(epochs_by_run: Mapping[str, Epochs]) -> SavedFigure:
    """Plot the validation accuracy of several runs against epochs and against seconds of
    training."""
    with style():
        picture = SavedFigure(8.4, 3.4 + 0.2 * len(epochs_by_run))
        by_epoch, by_second = picture.subplots(1, 2, sharey=True)
        longest = 1
        for (name, epochs), colour in zip(
            epochs_by_run.items(), _colours(len(epochs_by_run)), strict=True
        ):
            longest = max(longest, len(epochs))
            _curve(by_epoch, epochs, "validation_accuracy", name, colour)
            seconds = np.cumsum([row["train_seconds"] or 0.0 for row in epochs])
            points = [
                (s, row["validation_accuracy"])
                for s, row in zip(seconds, epochs, strict=True)
                if row["validation_accuracy"] is not None
            ]
            if points:
                by_second.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3)
        _epoch_axis(by_epoch, longest)
        by_second.set_xlabel("seconds of training")
        by_epoch.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        by_epoch.set_title("Validation accuracy", loc="left")
        handles, labels = by_epoch.get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside lower center", ncols=2)
        for axes in (by_epoch, by_second):
            axes.grid(axis="y", color="#e4e7eb")
            axes.set_axisbelow(True)
    return picture


def comparison_bars(scores: Sequence[RunScore]) -> SavedFigure:
    """Plot test accuracies with their 95 % intervals, on a scale that shows the differences."""
    with style():
        picture = SavedFigure(7.2, 1.0 + 0.42 * len(scores))
        axes = picture.add_subplot()
        for row, (score, colour) in enumerate(zip(scores, _colours(len(scores)), strict=True)):
            low, high = score.interval
            axes.plot([low, high], [row, row], color=colour, linewidth=3, solid_capstyle="round")
            axes.plot([score.accuracy], [row], "o", color=colour, markersize=8)
            axes.annotate(
                f"{100 * score.accuracy:.2f} %",
                (score.accuracy, row),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(scores)), [fitted(s.name, 34) for s in scores])
        axes.set_ylim(len(scores) - 0.5, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.margins(x=0.12)
        axes.grid(axis="x", color="#e4e7eb")
        axes.spines["left"].set_visible(False)
        axes.set_title("Test accuracy with its 95 % interval", loc="left")
    return picture


def learning_rate_sweep(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float,
    span: tuple[float, float],
) -> SavedFigure:
    """Plot loss against the learning rate, with the suggested rate and the range it comes from."""
    with style():
        picture = SavedFigure(7.2, 3.8)
        axes = picture.add_subplot()
        axes.plot(rates, losses, color=FAINT, linewidth=0.8, alpha=0.6, label="each batch")
        axes.plot(rates, smoothed, color=BLUE, linewidth=2, label="running mean")
        axes.axvspan(*span, color=ORANGE, alpha=0.15, linewidth=0, label="steepest to smallest")
        axes.axvline(
            suggestion, color=ORANGE, linewidth=2, label=f"suggested: {suggestion:.2g}", zorder=1
        )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        top = max(smoothed[0], min(max(smoothed), 1.5 * smoothed[0]))
        axes.set_ylim(0, 1.1 * top)
        axes.set_xlabel("peak learning rate")
        axes.set_title("Training loss while the learning rate rises", loc="left")
        axes.grid(axis="y", color="#e4e7eb")
        axes.set_axisbelow(True)
        axes.legend(loc="lower left")
    return picture


def _curve(axes: Axes, epochs: Epochs, column: str, label: str, colour: Any) -> None:
    points = [(row["epoch"], row[column]) for row in epochs if row[column] is not None]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, color=colour, marker="o", markersize=3.5)


def _epoch_axis(axes: Axes, count: int) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=min(count, 10), integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e4e7eb")
    axes.set_axisbelow(True)
    axes.tick_params(color=FAINT)


def _colours(count: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(count)]


def trust(
    confidence_N: npt.NDArray[np.float32], right_N: npt.NDArray[np.bool_], threshold: float | None
) -> SavedFigure:
    """Plot how often answers at each confidence are right, and how right the most confident ones
    are."""
    with style():
        picture = SavedFigure(8.4, 3.5)
        left, right = picture.subplots(1, 2)
        _reliability(left, confidence_N, right_N)
        left.set_xlabel("stated probability of the answer")
        left.set_title("Share of correct answers", loc="left")
        coverage_N, accuracy_N = accuracy_at_coverage(right_N, confidence_N)
        start = min(len(accuracy_N) - 1, len(accuracy_N) // 50)  # a few answers are too noisy
        right.plot(coverage_N[start:], accuracy_N[start:], color=BLUE)
        if threshold is not None:
            told = float((confidence_N >= threshold).mean())
            right.axvline(told, color=ORANGE, linewidth=1.5, linestyle="--")
            right.annotate(
                "unknown beyond",
                (told, right.get_ylim()[0]),
                xytext=(-4, 6),
                textcoords="offset points",
                ha="right",
                fontsize=8.5,
                color=INK,
            )
        right.set_xlabel("share of images answered, most confident first")
        right.set_title("Accuracy of those answered", loc="left")
        for axes in (left, right):
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
            axes.set_xlim(0, 1)
        left.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
    return picture


def _reliability(
    axes: Axes, stated_N: npt.NDArray[np.float32], true_N: npt.NDArray[np.bool_]
) -> None:
    """Of what was stated with each probability, the share that is true."""
    bins = np.clip((stated_N * 10).astype(int), 0, 9)
    for b in np.unique(bins):
        inside = bins == b
        share, stated = true_N[inside].mean(), stated_N[inside].mean()
        axes.bar((b + 0.5) / 10, share, width=0.092, color=BLUE)
        axes.plot([b / 10, (b + 1) / 10], [stated, stated], color=ORANGE, linewidth=2)
        label = ((b + 0.5) / 10, max(share, stated) + 0.02)
        axes.text(*label, f"{inside.sum():,}", ha="center", fontsize=7.5, color=INK)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.09)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelCurve:
    """Precision against recall of one label, at T thresholds."""

    name: str
    precision_T: npt.NDArray[np.float64]
    recall_T: npt.NDArray[np.float64]
    average_precision: float
    chosen: tuple[float, float]
    """Recall and precision at the threshold in use."""


def label_trust(
    curves: Sequence[LabelCurve],
    stated_N: npt.NDArray[np.float32],
    true_N: npt.NDArray[np.bool_],
) -> SavedFigure:
    """Plot precision against recall of each label, and how often a label of each probability is
    right, for at most as many labels as there are colours."""
    with style():
        picture = SavedFigure(8.4, 3.8)
        left, right = picture.subplots(1, 2)
        for curve, colour in zip(curves, _colours(len(curves)), strict=True):
            text = f"{fitted(curve.name, 14)}  {100 * curve.average_precision:.1f} %"
            steps = "steps-post"
            left.plot(curve.recall_T, curve.precision_T, color=colour, drawstyle=steps, label=text)
            left.plot(*curve.chosen, "o", color=colour, markersize=5)
        left.set_ylim(0, 1.04)
        left.set_xlabel("recall")
        left.set_title("Precision", loc="left")
        left.legend(loc="lower left", fontsize=7.5, title="average precision", title_fontsize=7.5)
        _reliability(right, stated_N, true_N)
        right.set_xlabel("stated probability of a label")
        right.set_title("Share of images that have it", loc="left")
        for axes in (left, right):
            axes.set_xlim(0, 1.02 if axes is left else 1)
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
    return picture


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial of a search."""

    number: int
    accuracy: float
    """Accuracy on held-out images; the last one if the trial was stopped early."""
    finished: bool


def search(trials: Sequence[Tried], importances: Mapping[str, float]) -> SavedFigure:
    """Plot a search's trials in order, with the best so far, and the importance of each setting."""
    with style():
        picture = SavedFigure(9.4, 3.6)
        axes, bars = picture.subplots(1, 2, width_ratios=(3, 2))
        for finished, label, color in ((True, "trial", BLUE), (False, "stopped early", FAINT)):
            some = [one for one in trials if one.finished == finished]
            if some:
                numbers, values = [one.number for one in some], [one.accuracy for one in some]
                marker = "o" if finished else "x"
                axes.scatter(numbers, values, s=22, color=color, marker=marker, label=label)
        done = [one for one in trials if one.finished]
        best = np.maximum.accumulate([one.accuracy for one in done])
        axes.step([one.number for one in done], best, where="post", color=ORANGE, label="best")
        axes.set_title("Held-out accuracy", loc="left")
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        # A few trials that learned nothing would squeeze all others together.
        low = min(float(np.quantile([one.accuracy for one in done], 0.1)), best[0])
        room = max(0.001, 0.08 * (best[-1] - low))
        axes.set_ylim(low - room, best[-1] + room)
        axes.legend(loc="best")
        names = [fitted(key, 28) for key in importances]
        bars.barh(names[::-1], list(importances.values())[::-1], color=BLUE)
        bars.set_title("Importance", loc="left")
        bars.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        if not importances:
            bars.text(0.5, 0.5, "too few trials", ha="center", transform=bars.transAxes)
            bars.set_axis_off()
    return picture
