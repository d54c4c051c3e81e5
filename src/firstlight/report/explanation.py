"""Figures that explain a network's answer, one by one or all on one sheet.

Axes: N images, H height, W width, C channels of images; C maps of h×w.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import FigureBase

from firstlight.explain.layers import LayerMaps
from firstlight.explain.words import Words
from firstlight.report.images import show
from firstlight.report.picture import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    SavedFigure,
    bare,
    shortened,
    style,
)

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

Drawing = Callable[[FigureBase], None]
"""Draws on a figure or a part of one."""

MOST_BARS = 10
MOST_MAPS = 32
SIDE = 3.1


def single(drawing: Drawing, title: str) -> SavedFigure:
    """Return one drawing as a figure."""
    with style():
        picture = SavedFigure(SIDE, SIDE)
        picture.suptitle(title, x=0.03, ha="left", fontsize=11, fontweight="bold")
        drawing(picture)
    return picture


def overview(panels: Sequence[tuple[Words, Drawing]]) -> SavedFigure:
    """Return drawings with their captions, three in a row."""
    columns = 3
    with style():
        texts = [_wrapped(words) for words, _ in panels]
        rows = [slice(i, i + columns) for i in range(0, len(panels), columns)]
        lines = [max(text.count("\n") + 1 for text in texts[row]) for row in rows]
        heights = [3.5 + 0.155 * count for count in lines]
        picture = SavedFigure(3.5 * columns, sum(heights))
        parts = picture.subfigures(
            len(rows), columns, squeeze=False, wspace=0.04, height_ratios=heights
        )
        for row, count, cells in zip(rows, lines, parts, strict=True):
            for part, (words, drawing), text in zip(cells, panels[row], texts[row], strict=False):
                drawing(part)
                part.suptitle(words.title, x=0.03, ha="left", fontsize=11, fontweight="bold")
                # Empty lines keep the drawings in a row at the same height.
                full = text + "\n " * (count - text.count("\n") - 1)
                part.supxlabel(full, x=0.03, ha="left", fontsize=8, color=INK)
    return picture


def _wrapped(words: Words) -> str:
    return "\n".join([*textwrap.wrap(words.shows, 52), *textwrap.wrap(words.cannot, 52)])


def seen(image_HWC: UInt8Array) -> Drawing:
    """Draw the network's input image."""

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        bare(axes)
        show(axes, _pixels(image_HWC))

    return draw


def answers(probabilities: Mapping[str, float], explained: str) -> Drawing:
    """Draw the most probable classes as bars, with the explained one in another colour."""

    def draw(figure: FigureBase) -> None:
        names = list(probabilities)[:MOST_BARS]
        if explained not in names:
            names[-1] = explained
        axes = figure.add_subplot()
        shares = [probabilities[name] for name in names]
        colours = [ORANGE if name == explained else BLUE for name in names]
        axes.barh(range(len(names)), shares, color=colours, height=0.68)
        axes.set_yticks(range(len(names)), [shortened(name, 14) for name in names])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.35)
        axes.set_xticks([])
        axes.tick_params(axis="y", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for row, share in enumerate(shares):
            # Do not round 99.96 % to 100 %.
            text = f"{100 * share:.1f} %" if share < 0.9995 else ">99.9 %"
            axes.text(share + 0.02, row, text, va="center", fontsize=8.5)

    return draw


def overlaid(
    image_HWC: UInt8Array, values_HW: Float32Array, *, dark: bool, smooth: bool = False
) -> Drawing:
    """Draw values over a faint grey image: red above zero, blue below. An image with a dark
    background is inverted."""

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        bare(axes)
        for spine in axes.spines.values():
            spine.set(visible=True, color=FAINT, linewidth=0.5)
        grey_HW1 = _pixels(image_HWC).mean(axis=2, keepdims=True)
        show(axes, 0.7 + 0.3 * (1 - grey_HW1 if dark else grey_HW1))
        # A few pixels may exceed the scale, so that a single one does not hide the others.
        top = float(np.quantile(np.abs(values_HW), 0.995)) or float(np.abs(values_HW).max()) or 1.0
        shares_HW = (values_HW / top).clip(-1, 1)
        axes.imshow(
            shares_HW,
            cmap="RdBu_r",
            alpha=np.abs(shares_HW) ** 0.7,
            vmin=-1,
            vmax=1,
            interpolation="bilinear" if smooth else "nearest",
        )

    return draw


def alike(
    images_NHWC: UInt8Array, class_names: Sequence[str], similarities: Sequence[float]
) -> Drawing:
    """Draw images with their classes and similarities."""

    def draw(figure: FigureBase) -> None:
        columns = math.ceil(len(images_NHWC) ** 0.5)
        rows = math.ceil(len(images_NHWC) / columns)
        cells = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in cells:
            bare(axes)
        for axes, image_HWC, name, similarity in zip(
            cells, images_NHWC, class_names, similarities, strict=False
        ):
            show(axes, _pixels(image_HWC))
            axes.set_title(shortened(name, 12), fontsize=8, fontweight="normal", pad=2)
            axes.set_xlabel(f"{similarity:.3f}", fontsize=7.5, color=FAINT, labelpad=1)

    return draw


def note(text: str) -> Drawing:
    """Draw words in place of a picture."""

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        bare(axes)
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color=FAINT)

    return draw


def layer(maps: LayerMaps, class_names: Sequence[str] = ()) -> SavedFigure:
    """Return the first 32 maps of one layer on one scale, or a bar for each of its single
    numbers."""
    if maps.is_single_numbers:
        return _numbers(maps.maps_Chw[:, 0, 0], class_names)
    shown = maps.maps_Chw[:MOST_MAPS]
    count, height, width = shown.shape
    columns = min(8, count)
    rows = math.ceil(count / columns)
    gap = 1
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan, np.float32
    )
    for index, map_hw in enumerate(shown):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        sheet[y : y + height, x : x + width] = map_hw
    largest = float(np.abs(maps.maps_Chw).max()) or 1.0
    with style():
        side = max(0.8, 2.4 / columns)  # inches per map
        picture = SavedFigure(side * columns + 0.8, max(0.8, side * rows * height / width) + 0.1)
        axes = picture.add_subplot()
        bare(axes)
        drawn = axes.imshow(
            sheet, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest"
        )
        bar = picture.colorbar(drawn, ax=axes, shrink=0.9, pad=0.02)
        bar.outline.set_visible(False)
    return picture


def _numbers(values_F: Float32Array, class_names: Sequence[str]) -> SavedFigure:
    named = len(values_F) == len(class_names) <= 20
    with style():
        picture = SavedFigure(7.2, 2.4)
        axes = picture.add_subplot()
        axes.bar(range(len(values_F)), values_F, color=BLUE, width=0.8)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        if named:
            short = [shortened(name, 12) for name in class_names]
            tilt = 0 if max(len(name) for name in short) <= 3 else 30
            axes.set_xticks(
                range(len(short)), short, rotation=tilt, ha="right" if tilt else "center"
            )
        axes.tick_params(axis="x", length=0)
        axes.margins(x=0.01)
        axes.spines["bottom"].set_visible(False)
    return picture


def _pixels(image_HWC: UInt8Array) -> Float32Array:
    return image_HWC.astype(np.float32) / np.float32(255)
