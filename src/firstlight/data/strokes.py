"""Turn one pen stroke on any paper into a picture like MNIST's.

LeCun, Cortes and Burges describe how MNIST was made: each black-and-white digit was fitted into a
20×20 box with its aspect ratio kept, anti-aliased, and placed in a 28×28 image with its centre of
mass in the middle. A photograph needs three more steps first: subtract the paper, find the
polarity, and remove dust. Axes: H height, W width.
"""

from math import ceil, floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from firstlight.data.frame import find_sheet, may_be_sheet
from firstlight.data.lines import Rule, Stroke, find_rules, without_rules
from firstlight.data.regions import connected

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

BOX_SHARE = 20 / 28
"""The stroke's box as a fraction of the image's side, as in MNIST."""
WORKING_SIDES = (800, 200)
"""Sides in pixels to which the picture is reduced to find the stroke. The second is tried if noise
hides the stroke: averaging 4×4 pixels removes three quarters of the noise."""
FAINTEST_INK = 12
"""Grey levels of 255 between paper and ink; less than this counts as a blank page."""
NOISE_SIGMAS = 4
"""Ink differs from the paper by more than this many standard deviations of the paper's noise."""
EDGE_SHARE = 0.2
"""A pixel next to ink belongs to the stroke from this fraction of the ink's level."""
DUST_SHARE = 0.03
"""A separate part with less than this fraction of the largest part's ink is dust."""
MARK_SHARE = 0.2
"""A separate part with less than this fraction of the largest part's ink is not a separate mark."""
FRAMES = 2
"""The largest number of nested frames, such as a sheet on a table with a printed box."""
FINE = 4
"""Strokes are measured and thickened at this many times the final resolution."""
THINNEST = 1.0
"""In final pixels. One MNIST digit in a hundred has a thinner stroke."""
USUAL = 1.9
"""In final pixels. The median width of MNIST's strokes; thinner ones are widened to it."""


class Fitted(NamedTuple):
    """A stroke placed like MNIST's digits."""

    image_HW: UInt8Array
    """Light on dark, in the requested size."""
    inverted: bool
    """Whether the picture was dark on light."""
    thickened: bool
    """Whether a thin stroke was widened, because it would have faded away."""
    rules: int = 0
    """How many rule lines were removed from the paper."""
    framed: bool = False
    """Whether a frame, a table or a box around the paper was cut off."""
    marks: int = 1
    """How many marks are side by side, for example 2 for the number 12."""


class Ink(NamedTuple):
    """How much ink each pixel has."""

    level_HW: Float32Array
    """0 (paper) to 1 (ink)."""
    inverted: bool
    rules: int
    """How many rule lines were removed."""
    marked_HW: npt.NDArray[np.bool_] | None
    """Everything that differs from the background; None if it cannot be a frame or a sheet."""


class _Written(NamedTuple):
    """What was written on the paper."""

    ink_HW: Float32Array
    """Grey levels between paper and ink."""
    full: float
    """The level in the middle of the stroke."""
    edge: float
    """Anything below is paper."""
    kept_HW: npt.NDArray[np.bool_]
    """Which pixels belong to the stroke."""
    parts: int
    """How many connected parts it has."""


def ground_level(grey_HW: UInt8Array) -> float:
    """Return the grey level of the background, 0 to 255: the most common level along the border.

    It is not the median, because a garment may fill most of the border, but in many shades.
    """
    thick = max(1, min(grey_HW.shape) // 20)
    bottom, right = (max(thick, side - thick) for side in grey_HW.shape)
    sides_HW = grey_HW[thick:bottom]
    ring = (grey_HW[:thick], grey_HW[bottom:], sides_HW[:, :thick], sides_HW[:, right:])
    levels = np.bincount(np.concatenate([part.ravel() for part in ring]), minlength=256)
    counts = levels.reshape(16, 16).sum(axis=1)
    # Neighbours count half, so that a level on the edge between two bins is not split.
    smooth = np.convolve(counts, [0.5, 1.0, 0.5], mode="same")
    first = 16 * max(0, int(smooth.argmax()) - 1)
    below = levels[first : 16 * (int(smooth.argmax()) + 2)].cumsum()
    half = (int(below[-1]) - 1) / 2  # the median is between the pixels of these two ranks
    lower, upper = below.searchsorted([floor(half) + 1, ceil(half) + 1])
    return first + (int(lower) + int(upper)) / 2


def is_dark_on_light(grey_HW: UInt8Array) -> bool:
    """Return whether the background is closer to the lightest than to the darkest level."""
    darkest, lightest = int(grey_HW.min()), int(grey_HW.max())
    middle = (darkest + lightest) / 2 if darkest < lightest else 127.5
    return ground_level(grey_HW) > middle


def fit_stroke(grey_HW: UInt8Array, height: int, width: int) -> Fitted | None:
    """Fit the stroke into 20/28 of height × width, with its centre of mass in the middle.

    Return None for a blank picture: nothing in it differs enough from the background.
    """
    ink = _look(grey_HW)
    framed = False
    for _ in range(FRAMES):
        sheet_HW = _sheet(grey_HW, ink)
        on_sheet = _look(sheet_HW) if sheet_HW is not None else None
        if sheet_HW is None or on_sheet is None:
            break
        grey_HW, ink, framed = sheet_HW, on_sheet, True
    if ink is None:
        return None
    rows, columns = (np.flatnonzero(ink.level_HW.any(axis=axis)) for axis in (1, 0))
    cut_HW = ink.level_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = (max(1, round(height * BOX_SHARE)), max(1, round(width * BOX_SHARE)))
    stroke, thickened = _thick_enough(_contained(cut_HW, (box[0] * FINE, box[1] * FINE)))
    small_HW = np.asarray(_contained(np.asarray(stroke), box))
    return Fitted(
        _mass_in_the_middle(small_HW, height, width),
        ink.inverted,
        thickened,
        ink.rules,
        framed,
        _marks_side_by_side(cut_HW),
    )


def _look(grey_HW: UInt8Array) -> Ink | None:
    """Find the ink at full resolution, or else at the coarse one."""
    looks = (find_ink(_reduced(grey_HW, side)) for side in WORKING_SIDES)
    return next((found for found in looks if found is not None), None)


def _sheet(grey_HW: UInt8Array, ink: Ink | None) -> UInt8Array | None:
    """Return the paper inside a frame, if the picture shows one."""
    if ink is not None:
        if ink.marked_HW is None:
            return None
        small_HW = _reduced(grey_HW, max(ink.marked_HW.shape))
        return find_sheet(small_HW, ink.marked_HW)
    # A sheet on more than half of the picture looks like noise on a background of table.
    grey_HW = _reduced(grey_HW, WORKING_SIDES[0])
    off_HW = np.abs(_without_ground(grey_HW))
    least = otsu(off_HW) / 2
    return find_sheet(grey_HW, off_HW > least) if least > FAINTEST_INK else None


def is_blank(grey_HW: UInt8Array) -> bool:
    """Return whether the picture shows only shading, no stroke and nothing else."""
    off_HW = np.abs(_without_ground(_reduced(grey_HW, WORKING_SIDES[0])))
    return otsu(off_HW) / 2 <= FAINTEST_INK


def find_ink(grey_HW: UInt8Array) -> Ink | None:
    """Return the ink of a picture without shading, noise, rule lines and dust; None for a blank
    page."""
    relief_HW = _without_ground(grey_HW)
    noise = 1.4826 * float(np.median(np.abs(relief_HW)))
    # Without the shading, noise is symmetric, so the third moment comes from the ink alone.
    inverted = float(np.vdot(relief_HW * relief_HW, relief_HW)) < 0
    ink_HW = -relief_HW if inverted else relief_HW
    floor = NOISE_SIGMAS * noise
    written = _written(ink_HW, floor)
    if written is None:
        return None
    marked_HW = ink_HW > written.edge
    at_border = _at_border(marked_HW)
    framed = at_border or written.parts > 1 or may_be_sheet(marked_HW)
    written, rules = _without_rules(ink_HW, floor, written) if at_border else (written, 0)
    level_HW = np.clip((written.ink_HW - floor) / (written.full - floor), 0, 1) * written.kept_HW
    return Ink(level_HW.astype(np.float32), inverted, rules, marked_HW if framed else None)


def _written(ink_HW: Float32Array, floor: float) -> _Written | None:
    """Return what was written, above the noise; None if there is nothing."""
    marked = ink_HW[ink_HW > max(floor, 1)]
    if marked.size == 0:
        return None
    threshold = otsu(marked)
    full = float(np.median(marked[marked > threshold]))
    if full < max(FAINTEST_INK, 1.5 * floor):
        return None
    edge = max(floor, EDGE_SHARE * full)
    return _Written(ink_HW, full, edge, *_without_dust(ink_HW, threshold, edge))


def _without_rules(ink_HW: Float32Array, floor: float, written: _Written) -> tuple[_Written, int]:
    """Return what is left without rule lines, and how many were removed."""
    turns = (ink_HW, ink_HW.T)
    found = [find_rules(turned_HW, written.edge) for turned_HW in turns]
    if not any(found):
        return written, 0
    rest = _written(_taken_off(ink_HW, found), floor)
    if rest is None:
        return written, 0
    lines = sum(len(rules) for rules in found)
    found = [
        [rule for rule in rules if rule.is_one(len(rules), lines, stroke)]
        for rules, stroke in zip(found, _strokes_of(rest), strict=True)
    ]
    count = sum(len(rules) for rules in found)
    rest = _written(_taken_off(ink_HW, found), floor) if count else None
    return (rest, count) if rest else (written, 0)


def _at_border(marked_HW: npt.NDArray[np.bool_]) -> bool:
    """Return whether anything crosses the picture's border."""
    for turned_HW in (marked_HW, marked_HW.T):
        rim = len(turned_HW) // 100 + 1
        if turned_HW[:rim].any() or turned_HW[-rim:].any():
            return True
    return False


def _taken_off(ink_HW: Float32Array, found: list[list[Rule]]) -> Float32Array:
    """Return the ink without the horizontal and the vertical rules."""
    across, down = found
    return without_rules(without_rules(ink_HW, across).T, down).T


def _strokes_of(written: _Written) -> tuple[Stroke, Stroke]:
    """Return the writing as compared with horizontal and with vertical rules."""
    kept_HW = written.kept_HW
    thick = stroke_width(kept_HW.astype(np.uint8) * 255)
    height, width = (int(np.ptp(np.flatnonzero(kept_HW.any(axis=axis)))) + 1 for axis in (1, 0))
    return (
        Stroke(thick, written.full, height, width),
        Stroke(thick, written.full, width, height),
    )


def otsu(values: Float32Array) -> float:
    """Return the threshold that splits the values into the two most compact groups (Otsu 1979,
    eq. 18).

    If all values are equal, they are above it. There are 256 bins from the minimum to the maximum.
    """
    least, greatest = float(values.min()), float(values.max())
    if least == greatest:
        return least / 2
    counts, edges = np.histogram(values, bins=256, range=(least, greatest))
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]
    above = counts.sum() - below
    total_below = (counts * centres).cumsum()[:-1]
    total = (counts * centres).sum()
    gap = total_below / below - (total - total_below) / above
    # Empty bins between two groups make a plateau; its middle is the farthest from both.
    spread = below * above * gap**2
    best = np.flatnonzero(spread >= spread.max() * (1 - 1e-9))
    return float(edges[1:][(best[0] + best[-1]) // 2])


def _reduced(grey_HW: UInt8Array, side: int) -> UInt8Array:
    """Reduce the picture so that its longer side is at most ``side``."""
    longer = max(grey_HW.shape)
    if longer <= side:
        return grey_HW
    height, width = (max(1, round(length * side / longer)) for length in grey_HW.shape)
    return np.asarray(Image.fromarray(grey_HW).resize((width, height), Image.Resampling.BOX))


def _without_ground(grey_HW: UInt8Array) -> Float32Array:
    """Subtract the paper, a quadratic surface through what is not ink.

    The paper's pixels and its lighting are found alternately, starting from the border's level.
    """
    height, width = grey_HW.shape
    y_H, x_W = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    step = max(1, max(height, width) // 100)
    sample = grey_HW[::step, ::step].ravel()
    y, x = (grid.ravel() for grid in np.meshgrid(y_H[::step], x_W[::step], indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    surface = np.array([ground_level(grey_HW), 0, 0, 0, 0, 0])
    before = np.zeros(sample.shape, dtype=bool)
    for _ in range(6):
        off = np.abs(sample - terms @ surface).astype(np.float32)
        paper = off <= otsu(off)
        if paper.sum() < 6 or np.array_equal(paper, before):  # the surface would not change
            break
        before = paper
        # The normal equations, six by six, take a tenth of the time of a fit to all samples. The
        # bound regularizes terms that a picture with few rows cannot distinguish.
        chosen = terms[paper]
        gram, products = chosen.T @ chosen, chosen.T @ sample[paper]
        surface = np.linalg.lstsq(gram, products, rcond=1e-10)[0]
    level, x1, y1, x2, xy, y2 = surface.astype(np.float32)
    x_1W, y_H1 = x_W.astype(np.float32)[None, :], y_H.astype(np.float32)[:, None]
    ground_HW = (level + x1 * x_1W + x2 * x_1W**2) + (y1 + xy * x_1W) * y_H1 + y2 * y_H1**2
    relief_HW: Float32Array = grey_HW - ground_HW
    return relief_HW


def _without_dust(
    ink_HW: Float32Array, seed: float, edge: float
) -> tuple[npt.NDArray[np.bool_], int]:
    """Return which pixels belong to the stroke, and its number of parts. They are above ``edge``
    and connected to one above ``seed``.

    Specks are left out. So is what crosses the border (the table, a ruled line, a frame), if there
    is a stroke that does not.
    """
    parts_HW, count = connected(ink_HW > edge, diagonally=True)
    mass = np.bincount(parts_HW.ravel(), weights=ink_HW.ravel(), minlength=count + 1)
    mass[np.bincount(parts_HW[ink_HW > seed], minlength=count + 1) == 0] = 0
    mass[0] = 0  # everything that is not a part
    inside = mass.copy()
    for edge_pixels in (parts_HW[0], parts_HW[-1], parts_HW[:, 0], parts_HW[:, -1]):
        inside[edge_pixels] = 0
    if inside.max() >= DUST_SHARE * mass.max():
        mass = inside
    stroke = (mass > 0) & (mass >= DUST_SHARE * mass.max())
    kept_HW: npt.NDArray[np.bool_] = stroke[parts_HW]
    return kept_HW, int(stroke.sum())


def _marks_side_by_side(level_HW: Float32Array) -> int:
    """Count the separate marks next to each other.

    Parts of one digit, such as the bar of a 5, are above each other, or small.
    """
    parts_HW, count = connected(level_HW > 0, diagonally=True)
    if count < 2:
        return count
    ink = np.bincount(parts_HW.ravel(), weights=level_HW.ravel(), minlength=count + 1)[1:]
    large = 1 + np.flatnonzero(ink >= MARK_SHARE * ink.max())
    columns = [np.flatnonzero((parts_HW == part).any(axis=0)) for part in large]
    spans = sorted((int(of[0]), int(of[-1]) + 1) for of in columns)
    marks, end = 1, spans[0][1]
    for start, stop in spans[1:]:
        marks += start >= end
        end = max(end, stop)
    return marks


def _contained(level_HW: npt.NDArray[np.float32], box: tuple[int, int]) -> Image.Image:
    """Return the whole picture as large as fits into ``box`` (height, width), in mode F."""
    height, width = level_HW.shape
    scale = min(box[0] / height, box[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BILINEAR
    return Image.fromarray(level_HW).resize(size, method)


def _thick_enough(stroke: Image.Image) -> tuple[Image.Image, bool]:
    """Widen a stroke that is too thin to survive the reduction, at FINE times the final
    resolution."""
    eight = stroke.point(lambda level: level * 255).convert("L")
    width = stroke_width(np.asarray(eight)) / FINE
    if width >= THINNEST:
        return stroke, False
    # Each pixel of radius widens the stroke by two.
    radius = max(1, round((USUAL - width) * FINE / 2))
    wide = eight.filter(ImageFilter.MaxFilter(2 * radius + 1))
    return wide.convert("F").point(lambda level: level / 255), True


def stroke_width(level_HW: UInt8Array) -> float:
    """Return the mean width of a stroke in pixels: its area divided by half of what one erosion
    removes."""
    area_HW = level_HW > 127
    eroded = Image.fromarray(np.pad(area_HW, 1).astype(np.uint8)).filter(ImageFilter.MinFilter(3))
    area = int(area_HW.sum())
    return 2 * area / max(1, area - int(np.asarray(eroded).sum()))


def _mass_in_the_middle(level_HW: Float32Array, height: int, width: int) -> UInt8Array:
    """Place the stroke in an empty image, moved by whole pixels. Nothing is cut off at the edge."""
    tall, wide = level_HW.shape
    mass = float(level_HW.sum())
    y = float(level_HW.sum(axis=1) @ (np.arange(tall) + 0.5)) / mass
    x = float(level_HW.sum(axis=0) @ (np.arange(wide) + 0.5)) / mass
    # All 10,000 test images of MNIST have their centre in [14, 15) of 28 in both directions.
    top = min(max(ceil(height / 2 - y), 0), height - tall)
    left = min(max(ceil(width / 2 - x), 0), width - wide)
    image_HW = np.zeros((height, width), dtype=np.uint8)
    image_HW[top : top + tall, left : left + wide] = np.rint(level_HW * 255)
    return image_HW
