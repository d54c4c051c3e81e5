"""Find a sheet of paper in a dark frame, in a drawn box or on a table, and straighten it.

A sheet has four corners and straight, sharp edges. A written zero has none of these.
Axes: H height, W width.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from firstlight.data.regions import connected

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
Corners = npt.NDArray[np.float64]
"""x and y of the top left, bottom left, bottom right and top right corners in pixels, 4×2."""

SMALLEST = 0.15
"""Least area of a sheet, as a fraction of the picture's."""
SMALLEST_SIDE = 40
"""A smaller picture cannot show a digit on a sheet."""
STRAIGHT = 0.94
"""Least overlap of the sheet and its quadrilateral: their intersection over their union."""
PAPER = 0.7
"""Least fraction of a sheet that is not written on."""
OPEN = 0.8
"""Largest fraction of the picture's border that may be on the sheet."""
IN_BOX = 0.4
"""Least fraction of the upright rectangle around a sheet that is paper."""
AROUND = 0.6
"""If a sheet continues beyond the picture, the least fraction outside it that is not paper."""
SHORTEST = 0.2
"""Least ratio of a sheet's shortest side to its longest."""
SLANT = 0.6
"""Largest cosine of the angle between two sides."""
INSET = 0.015
"""Fraction of the shorter side that is cut off at each edge, at least two pixels, because paper and
frame mix there."""


def find_sheet(grey_HW: UInt8Array, marked_HW: BoolArray) -> UInt8Array | None:
    """Return the paper without its edges, as seen from straight above; None without a sheet.

    ``marked_HW`` is what differs from the picture's background: the sheet, or what is around it.
    """
    if min(marked_HW.shape) < SMALLEST_SIDE:
        return None
    sheets = [*_sheets(marked_HW), *_sheets(~marked_HW)]
    if not sheets:
        return None
    return _laid_straight(grey_HW, max(sheets, key=lambda sheet: sheet[0])[1])


def may_be_sheet(marked_HW: BoolArray) -> bool:
    """Return quickly whether enough is marked for a sheet."""
    area = int(marked_HW.sum())
    if area < SMALLEST * PAPER * marked_HW.size:
        return False
    rows, columns = (np.flatnonzero(marked_HW.any(axis=axis)) for axis in (1, 0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return bool(area >= IN_BOX * box)


def _sheets(mask_HW: BoolArray) -> Iterator[tuple[float, Corners]]:
    """Yield the area, as a fraction of the picture, and the corners of each sheet."""
    parts_HW, count = connected(mask_HW)
    areas = np.bincount(parts_HW.ravel(), minlength=count + 1)
    areas[0] = 0
    large = np.flatnonzero(areas >= SMALLEST * PAPER * mask_HW.size)
    for part in large:
        y_P, x_P = np.nonzero(parts_HW == part)
        box = (np.ptp(y_P) + 1) * (np.ptp(x_P) + 1)
        if areas[part] < IN_BOX * box or _rim(parts_HW == part).mean() > OPEN:
            continue  # a stroke, or the whole picture with a stroke that touches its border
        sheet_HW = _filled(parts_HW == part)
        area = int(sheet_HW.sum())
        if area < SMALLEST * sheet_HW.size or areas[part] < PAPER * area:
            continue
        rim = _rim(sheet_HW)
        if rim.mean() > OPEN or (rim.any() and mask_HW[~sheet_HW].mean() > 1 - AROUND):
            continue  # the whole picture, or a strip between two lines
        corners = _corners(sheet_HW)
        if _square(corners) and _shared(sheet_HW, corners) >= STRAIGHT:
            yield area / sheet_HW.size, corners


def _rim(mask_HW: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return the pixels along the picture's border."""
    return np.concatenate([*mask_HW[[0, -1]], *mask_HW.T[[0, -1]]])


def _filled(part_HW: BoolArray) -> BoolArray:
    """Return the part with its holes filled."""
    others_HW, count = connected(~part_HW)
    outside = np.zeros(count + 1, dtype=bool)
    outside[_rim(others_HW)] = True
    outside[0] = False
    filled_HW: BoolArray = ~outside[others_HW]
    return filled_HW


def _corners(sheet_HW: BoolArray) -> Corners:
    y_P, x_P = np.nonzero(sheet_HW)
    sums, differences = x_P + y_P, x_P - y_P
    ends = (sums.argmin(), differences.argmin(), sums.argmax(), differences.argmax())
    return np.array([(x_P[end], y_P[end]) for end in ends], dtype=float)


def _square(corners: Corners) -> bool:
    """Return whether the sides meet at roughly right angles, allowing for a tilted camera."""
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(sides, axis=1)
    if lengths.min() < SHORTEST * lengths.max():
        return False
    cosines = (sides * np.roll(sides, 1, axis=0)).sum(axis=1) / (lengths * np.roll(lengths, 1))
    return bool(np.abs(cosines).max() <= SLANT)


def _shared(sheet_HW: BoolArray, corners: Corners) -> float:
    """Return the overlap of the sheet and the quadrilateral: intersection over union."""
    height, width = sheet_HW.shape
    drawn = Image.new("1", (width, height))
    ImageDraw.Draw(drawn).polygon([(x, y) for x, y in corners], fill=1)
    quad_HW = np.asarray(drawn)
    return float((sheet_HW & quad_HW).sum() / (sheet_HW | quad_HW).sum())


def _laid_straight(grey_HW: UInt8Array, corners: Corners) -> UInt8Array:
    """Return what is between the corners as a rectangle with sides of the mean length."""
    top_left, bottom_left, bottom_right, top_right = corners
    tall = (np.linalg.norm(bottom_left - top_left) + np.linalg.norm(bottom_right - top_right)) / 2
    wide = (np.linalg.norm(top_right - top_left) + np.linalg.norm(bottom_right - bottom_left)) / 2
    size = (max(1, round(wide)), max(1, round(tall)))
    straight = Image.fromarray(grey_HW).transform(
        size, Image.Transform.QUAD, tuple(corners.ravel()), Image.Resampling.BILINEAR
    )
    inset = max(2, round(INSET * min(size)))
    return np.asarray(straight)[inset:-inset, inset:-inset]
