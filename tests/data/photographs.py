"""Synthetic photographs of a written digit: pen on paper of many kinds, under a lamp, by a camera.

The paper is described in its own coordinates, in which rules are straight and evenly spaced. Each
pixel of the photograph looks up its position on the paper (a rotation with perspective). So lines
and edges are anti-aliased, and nothing is drawn twice. The search for lines and frames was
developed on ``DEVELOPMENT``. ``CHECK`` has different values throughout, and tests use only it.
Axes: H height, W width, C channels.
"""

import io
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image
from scipy import ndimage
from tests.serve.redrawn import middle_lines

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
Range = tuple[float, float]
Colour = tuple[int, int, int]

FIELD = 28
"""Side of an MNIST image in pixels; its digit is 20 pixels wide or high."""
LARGER = 8
"""The digit's shape is stored at this multiple of its resolution."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Ranges from which photographs are drawn. Lengths are shares of the photograph's shorter
    side."""

    sizes: tuple[tuple[int, int], ...]
    """Height, width in pixels."""
    papers: tuple[Colour, ...]
    inks: tuple[Colour, ...]
    lines: tuple[Colour, ...]
    margins: tuple[Colour, ...]
    tables: tuple[Colour, ...]
    boards: tuple[Colour, ...]
    digit: Range
    """Side of the digit's field of 28 pixels."""
    spacing: Range
    thickness: Range
    """Width of a line, in pixels."""
    thin: Range
    """Width of a thin pen."""
    border: Range
    """Width of the frame or table on one side."""
    degrees: Range
    perspective: Range
    light: Range
    """How much darker the paper is on the side away from the lamp."""
    blur: Range
    """Standard deviation in pixels."""
    noise: Range
    """Standard deviation in levels."""
    quality: tuple[int, int]
    """Quality of the JPEG file."""


DEVELOPMENT = Setting(
    sizes=((480, 640), (640, 480), (560, 560)),
    papers=((250, 248, 240), (225, 225, 228), (205, 198, 180)),
    inks=((20, 25, 90), (25, 25, 25), (60, 60, 65)),
    lines=((120, 150, 215), (150, 150, 155), (95, 120, 170)),
    margins=((220, 90, 100),),
    tables=((45, 35, 30), (25, 25, 28), (90, 65, 45)),
    boards=((30, 45, 38), (35, 35, 40)),
    digit=(0.35, 0.75),
    spacing=(0.06, 0.14),
    thickness=(1.2, 3.0),
    thin=(0.004, 0.012),
    border=(0.06, 0.18),
    degrees=(-6, 6),
    perspective=(0.0, 0.12),
    light=(0.0, 0.3),
    blur=(0.4, 1.2),
    noise=(1.0, 5.0),
    quality=(60, 95),
)
CHECK = Setting(
    sizes=((420, 420), (400, 540), (700, 520)),
    papers=((255, 255, 255), (238, 230, 205), (200, 208, 214), (215, 225, 205)),
    inks=((10, 10, 60), (40, 20, 20), (35, 60, 50), (75, 70, 95)),
    lines=((90, 170, 190), (175, 140, 150), (110, 110, 110), (140, 175, 140), (60, 80, 150)),
    margins=((235, 130, 90), (150, 60, 120)),
    tables=((60, 60, 66), (15, 18, 30), (80, 40, 30), (40, 60, 50)),
    boards=((20, 60, 45), (50, 48, 44), (15, 20, 40)),
    digit=(0.3, 0.8),
    spacing=(0.045, 0.2),
    thickness=(0.9, 4.5),
    thin=(0.003, 0.01),
    border=(0.03, 0.22),
    degrees=(-11, 11),
    perspective=(0.0, 0.2),
    light=(0.1, 0.45),
    blur=(0.2, 1.6),
    noise=(0.5, 7.0),
    quality=(45, 98),
)


@dataclass(frozen=True)
class Kind:
    """What is on the paper and around it."""

    rules: str = ""
    """``ruled``, ``margin`` (ruled, with a line down the side), ``squared``, ``dotted``, ``one`` (a
    single line), ``parts`` (ruled on part of the paper), or empty."""
    around: str = ""
    """``frame`` (on all sides), ``edge`` (on one or two sides), ``box`` (drawn around the digit,
    with paper outside), or empty."""
    pen: str = ""
    """``thin``, ``marker``, ``chalk``, or empty for a pen as thick as MNIST's."""
    touching: bool = False
    """Whether a line passes through the digit's lower end."""


KINDS = {
    "blank": Kind(),
    "marker": Kind(pen="marker"),
    "thin pen": Kind(pen="thin"),
    "chalk": Kind(pen="chalk"),
    "ruled": Kind("ruled"),
    "ruled, margin": Kind("margin"),
    "ruled in part": Kind("parts"),
    "ruled, touching": Kind("ruled", touching=True),
    "one line": Kind("one", touching=True),
    "squared": Kind("squared"),
    "dotted": Kind("dotted"),
    "dark frame": Kind(around="frame"),
    "table edge": Kind(around="edge"),
    "box": Kind(around="box"),
    "ruled, thin pen": Kind("ruled", pen="thin"),
    "squared, thin pen": Kind("squared", pen="thin"),
    "ruled, dark frame": Kind("ruled", around="frame"),
    "chalk, ruled": Kind("ruled", pen="chalk"),
    "chalk, light frame": Kind(around="frame", pen="chalk"),
}


def photograph(digit_HW: UInt8Array, kind: Kind, setting: Setting, rng: Generator) -> bytes:
    """Return a JPEG file that shows the digit (uint8 28×28, light on dark)."""
    height, width = setting.sizes[rng.integers(len(setting.sizes))]
    side = min(height, width)
    chalk = kind.pen == "chalk"
    paper, ink = _pick(setting.boards if chalk else setting.papers, rng), _pick(setting.inks, rng)
    line, margin = _pick(setting.lines, rng), _pick(setting.margins, rng)
    table = _pick(setting.tables, rng)
    if chalk:
        ink = (235, 235, 225)
        red, green, blue = ((p + q) // 2 for p, q in zip(paper, ink, strict=True))
        line = margin = (red, green, blue)
        table = (190, 150, 100)  # a wooden frame
    v_HW, u_HW = _places(height, width, setting, rng)
    field = rng.uniform(*setting.digit) * side
    if kind.around:
        field *= 0.75  # room for the surroundings
    at = np.array([rng.uniform(-1, 1) * max(0.0, 0.42 * n - 0.5 * field) for n in (height, width)])
    at *= 0.4 if kind.around else 0.8
    image_HWC = np.full((height, width, 3), paper, dtype=float)
    spacing = rng.uniform(*setting.spacing) * side
    thick = rng.uniform(*setting.thickness)
    for cover_HW, colour in (
        (_rules(kind, (v_HW, u_HW), (spacing, thick), (at, field), rng), line),
        (_margin(u_HW, width, thick) * (kind.rules == "margin"), margin),
        (_drawn(digit_HW, v_HW - at[0], u_HW - at[1], field, _pen(kind, setting, side, rng)), ink),
        (_around(kind, v_HW, u_HW, (height, width), setting, rng), table),
    ):
        image_HWC += cover_HW[..., None] * (np.array(colour) - image_HWC)
    return _taken(image_HWC, setting, rng)


def photographs(
    name: str, digits_NHW: UInt8Array, setting: Setting, count: int
) -> list[tuple[bytes, int]]:
    """Return ``count`` photographs of the kind, and the index in ``digits_NHW`` of each one's
    digit.

    Deterministic.
    """
    rng = np.random.default_rng(zlib.crc32(f"{name} {setting.sizes}".encode()))
    chosen = rng.permutation(len(digits_NHW))[:count]
    return [(photograph(digits_NHW[i], KINDS[name], setting, rng), int(i)) for i in chosen]


def _pick(colours: tuple[Colour, ...], rng: Generator) -> Colour:
    return colours[rng.integers(len(colours))]


def _places(
    height: int, width: int, setting: Setting, rng: Generator
) -> tuple[FloatArray, FloatArray]:
    """Return the position on the paper, down and across from its centre in pixels, of each
    pixel."""
    y_HW, x_HW = np.indices((height, width), dtype=float)
    y_HW -= height / 2
    x_HW -= width / 2
    angle = np.radians(rng.uniform(*setting.degrees))
    tilt_y, tilt_x = rng.uniform(*setting.perspective) * rng.choice([-1, 1], 2)
    deep_HW = 1 + tilt_y * y_HW / height + tilt_x * x_HW / width
    down_HW = (np.cos(angle) * y_HW - np.sin(angle) * x_HW) / deep_HW
    across_HW = (np.sin(angle) * y_HW + np.cos(angle) * x_HW) / deep_HW
    return down_HW, across_HW


def _cover(distance_HW: FloatArray, thick: float) -> FloatArray:
    """Return how much of each pixel a line covers, given the distance of its centre line."""
    return np.clip(thick / 2 + 0.5 - np.abs(distance_HW), 0, 1)


def _repeated(place_HW: FloatArray, spacing: float, first: float) -> FloatArray:
    """Return the distance to the nearest of evenly spaced lines."""
    return (place_HW - first + spacing / 2) % spacing - spacing / 2


def _rules(
    kind: Kind,
    places: tuple[FloatArray, FloatArray],
    measures: tuple[float, float],
    digit: tuple[FloatArray, float],
    rng: Generator,
) -> FloatArray:
    (v_HW, u_HW), (spacing, thick), (at, field) = places, measures, digit
    foot = at[0] + field * 10 / FIELD  # lower end of the digit
    first = foot - rng.uniform(0, 0.08) * field if kind.touching else rng.uniform(0, spacing)
    ruled_HW = _cover(_repeated(v_HW, spacing, first), thick)
    if kind.rules in ("ruled", "margin"):
        return ruled_HW
    if kind.rules == "one":
        return _cover(v_HW - first, thick)
    if kind.rules == "parts":
        side_HW: FloatArray = u_HW * rng.choice([-1, 1])
        return np.where(side_HW > rng.uniform(-0.3, 0.1) * u_HW.max(), ruled_HW, 0.0)
    across_HW = _cover(_repeated(u_HW, spacing, rng.uniform(0, spacing)), thick)
    if kind.rules == "squared":
        return np.maximum(ruled_HW, across_HW)
    if kind.rules == "dotted":
        dots = [_repeated(place_HW, spacing / 2, first) for place_HW in (v_HW, u_HW)]
        return _cover(np.hypot(*dots), thick + 1)
    return np.zeros_like(v_HW)


def _margin(u_HW: FloatArray, width: int, thick: float) -> FloatArray:
    return _cover(u_HW + 0.36 * width, thick)


def _pen(kind: Kind, setting: Setting, side: int, rng: Generator) -> float:
    """Return the width in pixels of a pen that follows the digit's centre line; 0 keeps the
    digit."""
    if kind.pen == "thin":
        return rng.uniform(*setting.thin) * side
    return 0.11 * setting.digit[1] * side if kind.pen == "marker" else 0.0


def _drawn(
    digit_HW: UInt8Array, down_HW: FloatArray, across_HW: FloatArray, field: float, pen: float
) -> FloatArray:
    """Return how much of each pixel the digit covers, given the positions relative to its
    centre."""
    large = Image.fromarray(digit_HW).resize((FIELD * LARGER,) * 2, Image.Resampling.BICUBIC)
    shape_HW = np.asarray(large) / 255.0
    scale = FIELD * LARGER / field
    where = [down_HW * scale + FIELD * LARGER / 2, across_HW * scale + FIELD * LARGER / 2]
    if pen:
        away_HW = ndimage.distance_transform_edt(~middle_lines(shape_HW > 0.45))
        smooth = LARGER / 4
        # The mean distance from a straight line within such a blur is 0.8 of its width.
        away_HW = ndimage.gaussian_filter(away_HW, smooth) - 0.8 * smooth
        away_HW = ndimage.map_coordinates(away_HW, where, order=1, mode="nearest") / scale
        outside = np.max([np.abs(place - FIELD * LARGER / 2) for place in where], axis=0)
        return np.where(outside <= FIELD * LARGER / 2, _cover(away_HW.clip(0), pen), 0.0)
    inside_HW = ndimage.map_coordinates(shape_HW, where, order=1)
    cover_HW: FloatArray = np.clip((inside_HW - 0.5) * LARGER / scale + 0.5, 0, 1)
    return cover_HW


def _around(
    kind: Kind,
    v_HW: FloatArray,
    u_HW: FloatArray,
    size: tuple[int, int],
    setting: Setting,
    rng: Generator,
) -> FloatArray:
    """Return how much of each pixel the frame, the table or the box's line covers."""
    height, width = size
    if not kind.around:
        return np.zeros_like(v_HW)
    borders = rng.uniform(*setting.border, 4) * min(size)
    if kind.around == "edge":
        borders[rng.permutation(4)[: rng.integers(2, 4)]] = -max(size)  # outside the picture
    top, bottom, left, right = borders
    distances = [v_HW + height / 2 - top, height / 2 - bottom - v_HW]
    distances += [u_HW + width / 2 - left, width / 2 - right - u_HW]
    inside_HW = np.min(distances, axis=0)  # pixels to the nearest side of the paper
    if kind.around == "box":
        return _cover(inside_HW, rng.uniform(*setting.thickness) + 2)
    cover_HW: FloatArray = np.clip(0.5 - inside_HW, 0, 1)
    return cover_HW


def _taken(image_HWC: FloatArray, setting: Setting, rng: Generator) -> bytes:
    """Light from one side, blur by the lens, add sensor noise, and encode as JPEG."""
    height, width, _ = image_HWC.shape
    y_HW, x_HW = np.indices((height, width)) / [[[height]], [[width]]]
    towards = rng.uniform(0, 2 * np.pi)
    shade_HW = np.cos(towards) * (y_HW - 0.5) + np.sin(towards) * (x_HW - 0.5) + 0.5
    image_HWC = image_HWC * (1 - rng.uniform(*setting.light) * shade_HW.clip(0, 1))[..., None]
    blur = rng.uniform(*setting.blur)
    image_HWC = ndimage.gaussian_filter(image_HWC, (blur, blur, 0))
    image_HWC += rng.normal(0, rng.uniform(*setting.noise), (height, width, 1))
    stream = io.BytesIO()
    image = Image.fromarray(image_HWC.clip(0, 255).astype(np.uint8))
    image.save(stream, "JPEG", quality=int(rng.integers(*setting.quality)))
    return stream.getvalue()
