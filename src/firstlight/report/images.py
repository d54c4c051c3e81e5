"""Figures made of images. Axes: N images, H height, W width, C channels, K classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from firstlight.report.picture import (
    FAINT,
    GREEN,
    INK,
    RED,
    SavedFigure,
    bare,
    end_of,
    fitted,
    shortened,
    style,
)

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """One image with the network's answer."""

    image_HWC: UInt8Array
    answer: str
    confidence: float | None
    """Probability of the answer, 0 to 1; None if there are several labels."""
    truth: str | None = None
    """The true class, if known."""
    name: str | None = None
    """Index or file name, to find the image again."""
    faults: tuple[str, ...] = ()
    """Errors of the answer, line by line, in place of the truth."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """The text below a wrong answer."""
        return (self.faults or (f"is {self.truth}",)) if self.wrong else ()

    @property
    def wrong(self) -> bool:
        """Whether the true class is known and differs from the answer."""
        return self.truth is not None and self.truth != self.answer


def prediction_strip(items: Sequence[Answered]) -> SavedFigure:
    """Return a strip of images with answers, five in a row; wrong ones also show the truth."""
    return _grid(items, columns=5, cell=1.75)


def mistakes_page(items: Sequence[Answered]) -> SavedFigure:
    """Return the wrong answers, least probable truth first, six in a row."""
    return _grid(items, columns=6, cell=1.6)


def prediction_grid(items: Sequence[Answered]) -> SavedFigure:
    """Return external pictures with their names and answers."""
    return _grid(items, columns=min(5, max(1, len(items))), cell=2.0)


def class_samples(
    images_by_class: Sequence[UInt8Array], class_names: Sequence[str], columns: int = 10
) -> SavedFigure:
    """Return one row of images per class; ``images_by_class`` holds K arrays n×H×W×C."""
    rows = len(class_names)
    height, width = _side(images_by_class)
    gap = max(1, round(0.06 * width))
    label = 0.1 * max(len(line) for n in class_names for line in fitted(n, 16).split("\n"))
    with style():
        picture = SavedFigure(0.4 + label + 0.62 * columns, 0.15 + 0.64 * rows * height / width)
        axes = picture.add_subplot()
        sheet = np.full(
            (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8
        )
        for row, images_NHWC in enumerate(images_by_class):
            for column, image_HWC in enumerate(images_NHWC[:columns]):
                y, x = row * (height + gap), column * (width + gap)
                sheet[y : y + height, x : x + width] = image_HWC
        axes.imshow(sheet, interpolation="nearest")
        bare(axes)
        places = [row * (height + gap) + height / 2 for row in range(rows)]
        axes.set_yticks(places, [fitted(name, 16) for name in class_names])
        axes.tick_params(length=0)
    return picture


def augmentation_views(original_HWC: UInt8Array, views_NHWC: Float32Array) -> SavedFigure:
    """Return one image and its augmented versions; views are in [0, 1]."""
    columns = 6
    rows = math.ceil((len(views_NHWC) + 1) / columns)
    with style():
        picture = SavedFigure(1.25 * columns, 1.4 * rows)
        cells = picture.subplots(rows, columns, squeeze=False).ravel()
        shown = [original_HWC.astype(np.float32) / 255, *views_NHWC]
        for index, axes in enumerate(cells):
            bare(axes)
            if index < len(shown):
                show(axes, shown[index])
                axes.set_title("original" if index == 0 else " ", fontsize=9, pad=3)
    return picture


def first_layer_filters(filters_OCHW: Float32Array) -> SavedFigure:
    """Return the first convolution's weights, one tile per filter.

    Grey filters run from blue (negative) through white (zero) to red (positive), all on one scale.
    Colour filters are shown in colour, each stretched to its own range.
    """
    count, channels = filters_OCHW.shape[:2]
    columns = min(count, 16)
    rows = math.ceil(count / columns)
    with style():
        bar = 0.9 if channels == 1 else 0.0
        picture = SavedFigure(0.3 + 0.5 * columns + bar, 0.3 + 0.5 * rows)
        cells = picture.subplots(rows, columns, squeeze=False)
        largest = float(np.abs(filters_OCHW).max()) or 1.0
        drawn = None
        for index, axes in enumerate(cells.ravel()):
            bare(axes)
            if index >= count:
                continue
            kernel_HWC = filters_OCHW[index].transpose(1, 2, 0)
            if channels == 1:
                drawn = axes.imshow(kernel_HWC[..., 0], cmap="RdBu_r", vmin=-largest, vmax=largest)
            else:
                low, high = kernel_HWC.min(), kernel_HWC.max()
                axes.imshow((kernel_HWC - low) / max(float(high - low), 1e-12))
        if drawn is not None:
            legend = picture.colorbar(drawn, ax=cells, shrink=0.9, pad=0.02)
            legend.outline.set_visible(False)
    return picture


def _grid(items: Sequence[Answered], columns: int, cell: float) -> SavedFigure:
    columns, lines = min(columns, len(items)), 1 + max(_lines_below(item) for item in items)
    rows = math.ceil(len(items) / columns)
    characters = round(cell * 12)
    with style():
        height, width = items[0].image_HWC.shape[:2]
        tallest = cell * min(1.5, height / width)
        picture = SavedFigure(cell * columns, (tallest + 0.17 * lines + 0.12) * rows)
        for index, axes in enumerate(picture.subplots(rows, columns, squeeze=False).ravel()):
            bare(axes)
            if index >= len(items):
                continue
            item = items[index]
            show(axes, item.image_HWC.astype(np.float32) / np.float32(255))
            wrong = item.wrong
            colour = RED if wrong else GREEN if item.truth is not None else INK
            axes.set_title(_title(item, characters), fontsize=9, color=colour, pad=4)
            below = [shortened(remark, characters) for remark in item.remarks]
            below += [end_of(item.name, characters)] if item.name is not None else []
            axes.set_xlabel(
                "\n".join(below),
                fontsize=8,
                color=INK if wrong else FAINT,
            )
            if wrong:
                for spine in axes.spines.values():
                    spine.set(visible=True, color=RED, linewidth=2.5)
    return picture


def _title(item: Answered, characters: int) -> str:
    if item.confidence is None:
        return shortened(item.answer, characters)
    share = ">99 %" if item.confidence > 0.99 else f"{100 * item.confidence:.0f} %"
    return f"{shortened(item.answer, characters - 7)} ({share})"


def _lines_below(item: Answered) -> int:
    return len(item.remarks) + (item.name is not None)


def show(axes: Axes, pixels_HWC: Float32Array) -> None:
    """Draw an image in [0, 1], grey or colour."""
    if pixels_HWC.shape[2] == 1:
        axes.imshow(pixels_HWC[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(pixels_HWC.clip(0, 1), interpolation="nearest")


def _side(images_by_class: Sequence[UInt8Array]) -> tuple[int, int]:
    height, width = images_by_class[0].shape[1:3]
    return height, width


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """One picture of a contact sheet."""

    image_HWC: UInt8Array
    text: str
    title: str = ""


def contact_sheet(groups: Sequence[Sequence[Tile]]) -> SavedFigure:
    """Return named pictures in groups, with a gap between groups."""
    widest = max(len(group) for group in groups)
    across = max(1, 6 // widest)
    rows = math.ceil(len(groups) / across)
    columns = across * widest
    with style():
        titled = any(tile.title for group in groups for tile in group)
        picture = SavedFigure(1.45 * columns, (1.95 if titled else 1.75) * rows)
        cells = picture.subplots(rows, columns, squeeze=False)
        for axes in cells.ravel():
            bare(axes)
        for number, group in enumerate(groups):
            row, first = number // across, number % across * widest
            for place, tile in enumerate(group):
                axes = cells[row][first + place]
                show(axes, tile.image_HWC.astype(np.float32) / np.float32(255))
                axes.set_title(shortened(tile.title, 20), fontsize=9, pad=3)
                axes.set_xlabel(_broken(tile.text, 20), fontsize=7)
    return picture


def _broken(name: str, width: int) -> str:
    """Break a file name into lines of ``width`` characters, and keep the last three lines."""
    lines = [name[i : i + width] for i in range(0, len(name), width)]
    return "\n".join(lines if len(lines) <= 3 else ["…" + lines[-3][1:], *lines[-2:]])
