"""Digits redrawn as if by hand: their middle lines with a round brush on a canvas.

Axes: H height, W width.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

CANVAS = 280
# Drawn larger and then averaged, so that edges are as soft as on the page's canvas.
FINER = 4
# The middle of a stroke is found in an enlarged image, where small loops stay open.
LARGER = 4


def redrawn(image_HW: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Return the digit as thick strokes, 90 to 250 pixels high or wide, anywhere on the canvas."""
    large = Image.fromarray(image_HW).resize((28 * LARGER,) * 2, Image.Resampling.BICUBIC)
    lines = _segments(middle_lines(np.asarray(large) > 110))
    points = np.array(lines, float).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    side = rng.uniform(90, 250)
    brush = side * rng.uniform(0.08, 0.14)  # about as thick as the pens of MNIST
    scale = (side - brush) / max(*(high - low), 1)
    extent = (high - low) * scale + brush
    corner = rng.uniform(0, CANVAS - extent) + brush / 2
    canvas = Image.new("L", (CANVAS * FINER,) * 2)
    pen = ImageDraw.Draw(canvas)
    for ends in lines:
        # Rows and columns become y and x.
        placed = [tuple(((np.array(end) - low) * scale + corner)[::-1] * FINER) for end in ends]
        pen.line(placed, fill=255, width=round(brush * FINER))
        for x, y in placed:
            radius = brush * FINER / 2
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return canvas.resize((CANVAS, CANVAS), Image.Resampling.BOX)


def _segments(on_HW: npt.NDArray[np.bool_]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Connect every pixel to its neighbours; a single one to itself."""
    places = {(int(row), int(column)) for row, column in np.argwhere(on_HW)}
    found = [(place, place) for place in sorted(places)]
    for row, column in sorted(places):
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if (row + down, column + right) in places:
                found.append(((row, column), (row + down, column + right)))
    return found


def middle_lines(on_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Thin strokes to one pixel (Zhang and Suen 1984)."""
    on = np.pad(on_HW, 1)
    while True:
        before = on.copy()
        for first in (True, False):
            n, ne, e, se, s, sw, w, nw = (
                np.roll(on, shift, (0, 1))
                for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            )
            ring = [n, ne, e, se, s, sw, w, nw]
            count = sum(part.astype(int) for part in ring)
            rises = sum((~a & b).astype(int) for a, b in zip(ring, [*ring[1:], n], strict=True))
            ends = (n & e & s) | (e & s & w) if first else (n & e & w) | (n & s & w)
            on = on & ~((count >= 2) & (count <= 6) & (rises == 1) & ~ends)
        if np.array_equal(on, before):
            return on[1:-1, 1:-1]
