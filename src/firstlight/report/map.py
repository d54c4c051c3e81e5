"""Map of a set of pictures, by content. Axes: N pictures, K classes, S side of the map."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from PIL import Image

from firstlight.report.picture import SERIES, SavedFigure, bare, style

SIDE = 1400
MOST_NAMED = 40
"""With more classes than this, the colours are not named: they would be too similar."""
_SMALLEST, _LARGEST, _MARGIN = 26, 72, 60
_MARK = (0, 0, 0)


def map_of_pictures(
    thumbnails: Sequence[npt.NDArray[np.uint8]],
    places_N2: npt.NDArray[np.float64],
    labels_N: npt.NDArray[np.int64],
    classes: int,
    marked_N: npt.NDArray[np.bool_],
) -> SavedFigure:
    """Draw each picture, uint8 H×W×C, small at its position, with a frame in its class's colour.
    Marked pictures are larger, have a black frame, and lie on top."""
    colours = _colours(classes)
    side = int(np.clip(SIDE * (0.6 / len(thumbnails)) ** 0.5, _SMALLEST, _LARGEST))
    low_2, high_2 = places_N2.min(axis=0), places_N2.max(axis=0)
    share_N2 = (places_N2 - low_2) / np.maximum(high_2 - low_2, 1e-9)
    middle_N2 = _MARGIN + share_N2 * (SIDE - 2 * _MARGIN)
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    for at in np.argsort(marked_N, kind="stable").tolist():
        large = bool(marked_N[at])
        tile = _framed(thumbnails[at], side, colours[labels_N[at]], 3)
        if large:
            tile = _framed(np.asarray(tile), round(1.6 * side), _MARK, 4)
        x, y = (round(v - tile.width / 2) for v in middle_N2[at].tolist())
        sheet.paste(tile, (x, y))
    with style():
        picture = SavedFigure(SIDE / 110, SIDE / 110)
        axes = picture.add_subplot()
        axes.imshow(np.asarray(sheet), interpolation="nearest")
        bare(axes)
    return picture


def legend(class_names: Sequence[str]) -> dict[str, str]:
    """Return the classes and their colours, ``#rrggbb``; empty for more than ``MOST_NAMED``
    classes."""
    if len(class_names) > MOST_NAMED:
        return {}
    colours = _colours(len(class_names))
    return {
        name: "#{:02x}{:02x}{:02x}".format(*colour)
        for name, colour in zip(class_names, colours, strict=True)
    }


def _colours(count: int) -> list[tuple[int, int, int]]:
    if count <= len(SERIES):
        found = [to_rgb(name) for name in SERIES[:count]]
    else:
        table = mpl.colormaps["tab20"] if count <= 20 else mpl.colormaps["hsv"]
        shares = np.arange(count) if count <= 20 else np.arange(count) / count
        found = [to_rgb(table(share)) for share in shares.tolist()]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in found]


def _framed(
    pixels_HWC: npt.NDArray[np.uint8], side: int, colour: tuple[int, int, int], width: int
) -> Image.Image:
    pixels = pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC
    inner = side - 2 * width
    tile = Image.new("RGB", (side, side), colour)
    tile.paste(Image.fromarray(pixels).convert("RGB").resize((inner, inner)), (width, width))
    return tile
