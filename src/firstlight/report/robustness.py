"""Figures of accuracy under corruptions. Axes: H height, W width, C channels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import PercentFormatter

from firstlight.report.images import show
from firstlight.report.picture import BLUE, FAINT, SavedFigure, bare, style

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
"""``curves`` of ``robustness.json``."""


def robustness_curves(curves: Curves) -> SavedFigure:
    """Plot accuracy against strength, one panel per corruption, all on one scale."""
    with style():
        picture = SavedFigure(8.4, 4.6)
        panels = picture.subplots(2, 3, sharex=True, sharey=True)
        for axes, (kind, points) in zip(panels.ravel(), curves.items(), strict=True):
            strengths = [p["strength"] for p in points]
            low, high = ([p["interval"][side] for p in points] for side in (0, 1))
            axes.fill_between(strengths, low, high, color=BLUE, alpha=0.2, linewidth=0)
            axes.plot(strengths, [p["accuracy"] for p in points], color=BLUE, marker="o", ms=4)
            axes.axhline(points[0]["accuracy"], color=FAINT, linewidth=1, linestyle="--")
            axes.set_title(kind, loc="left")
            axes.set_xticks(strengths)
            axes.grid(axis="y", color=FAINT, alpha=0.25)
        panels[0, 0].set_ylim(0, 1.03)
        panels[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
        for axes in panels[1]:
            axes.set_xlabel("strength")
    return picture


def corruption_samples(images: Mapping[str, Sequence[npt.NDArray[np.uint8]]]) -> SavedFigure:
    """Return one image under each corruption (rows) at each strength (columns), the original
    first."""
    rows, columns = len(images), len(next(iter(images.values())))
    with style():
        picture = SavedFigure(1.0 + 1.0 * columns, 0.3 + 1.0 * rows)
        cells = picture.subplots(rows, columns, squeeze=False)
        for row, (kind, strip) in zip(cells, images.items(), strict=True):
            first = kind == next(iter(images))
            for strength, (axes, image_HWC) in enumerate(zip(row, strip, strict=True)):
                bare(axes)
                show(axes, image_HWC.astype(np.float32) / np.float32(255))
                if first:
                    axes.set_title("original" if strength == 0 else str(strength), fontsize=9)
            row[0].set_ylabel(kind, rotation=0, ha="right", va="center")
    return picture
