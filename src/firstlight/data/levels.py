"""Decide which number of an array is black and which is white, and scale it to levels 0 to 255.

A network trained on nearly black images does badly on ordinary pictures. So if neither the dtype
nor the values settle the range, the user is asked for it.
Axes: N images, H height, W width, C channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from firstlight.errors import DataError

UInt8Array = npt.NDArray[np.uint8]

BRIGHT = 128
"""In a set of images from 0 to 255, the brightest pixel has at least this level."""
DARK = 32
"""If no image of a set reaches this level, the images are nearly black."""
_MANY = 20
"""This many images are enough to judge their brightness."""
_AT_ONCE = 1 << 22  # numbers converted at once
_WHITES = (1, 15, 16, 31, 63, 100, 127, 255, 1023, 4095, 16_383, 65_535)


class Range(NamedTuple):
    """The values of black and white."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def holds(self, values: "Range") -> bool:
        """Return whether the values are inside. Half a level outside counts as rounding."""
        slack = (self.high - self.low) / 510
        return self.low - slack <= values.low and values.high <= self.high + slack


BYTES, UNIT, WORDS, FLAGS = Range(0, 255), Range(0, 1), Range(0, 65_535), Range(0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """The images of one array, or one image."""

    values: npt.NDArray[Any]
    name: str
    """Its name, for messages."""


def stated(given: Any, name: str) -> Range | None:
    """Parse a range that the user gave. Raises ``DataError`` unless it is two ascending numbers."""
    if given is None:
        return None
    try:
        low, high = (float(one) for one in given)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name}: wanted a range of two numbers, black and white, such as range=(0, 16), got "
            f"{type(given).__name__}"
        ) from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(
            f"{name}: wanted a range of two numbers, black below white, such as range=(0, 16), "
            f"got ({low:g}, {high:g})"
        )
    return Range(low, high)


def levels_of_set(
    pieces: Sequence[Piece], given: Range | None, *, single: bool = False
) -> tuple[list[UInt8Array], tuple[str, ...]]:
    """Convert all images of a data set to levels from 0 to 255, and say what was done.

    The range is ``given``, or follows from dtype and values: those of each piece, or for
    ``single`` images, those of all with the same dtype. Raises ``DataError`` if the range is
    unclear, if two pieces with one dtype have different ranges, and for values that are not
    numbers.
    """
    by_dtype: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_dtype.setdefault(str(piece.values.dtype), []).append(piece)
    range_of, notes = dict[str, Range](), list[str]()
    for dtype, alike in by_dtype.items():
        spans = [_span(piece) for piece in alike]
        whole = Range(min(s.low for s in spans), max(s.high for s in spans))
        if given is not None:
            chosen = given
        elif single:
            chosen = _plain(alike[0].values.dtype, whole) or _ask(alike[0].name, dtype, whole)
        else:
            chosen = _of_parts(alike, spans, whole)
        for piece, span in zip(alike, spans, strict=True):
            if not chosen.holds(span):
                raise DataError(
                    f"{piece.name}: wanted pixels of {chosen}, got {dtype} from {span}. Correct "
                    "the range, or the pixels"
                )
        range_of[dtype] = chosen
        if chosen != BYTES:
            notes.append(f"{dtype} from {whole}: {chosen} read as 0 to 255")
        elif alike[0].values.dtype.kind == "f":
            notes.append(f"{dtype} from {whole}: rounded to whole levels")
    levels = [as_levels(piece.values, range_of[str(piece.values.dtype)]) for piece in pieces]
    return levels, tuple(notes)


def levels_to_ask(
    arrays: Sequence[npt.NDArray[Any]], images: int, given: Range | None = None
) -> tuple[list[UInt8Array], tuple[str, ...]]:
    """Convert arrays of one dtype to levels from 0 to 255 for a trained network, and say what was
    done. ``count`` is the number of images.

    A single picture may be dark, so more is allowed than for a whole set. Raises ``DataError`` if
    the range is unclear.
    """
    spans = [_span(Piece(values=values, name="images")) for values in arrays]
    span = Range(min(s.low for s in spans), max(s.high for s in spans))
    dtype, notes = arrays[0].dtype, tuple[str, ...]()
    if given is not None:
        chosen = given
    elif dtype.kind == "b" or (dtype.kind == "f" and UNIT.holds(span) and span.high > 4 / 255):
        chosen = UNIT
    elif dtype == np.uint16 and span.high >= BRIGHT * 257:
        chosen = WORDS
    elif BYTES.holds(span) and (span.high >= DARK or span.high == 0):
        chosen = BYTES
    elif dtype == np.uint8 and images < _MANY and span.high > 1:
        chosen, advice = BYTES, "; if they are not, give the level of white: range=(0, WHITE)"
        notes = (_dark(span.high) + advice,)
    else:
        chosen = _ask("images", str(dtype), span)
    if not chosen.holds(span):
        raise DataError(f"images: wanted pixels of {chosen}, got {dtype} from {span}")
    if chosen != BYTES:
        notes = (f"{dtype}: {chosen} read as 0 to 255",)
    return [as_levels(values, chosen) for values in arrays], notes


def as_levels(values: npt.NDArray[Any], chosen: Range) -> UInt8Array:
    """Return the nearest levels. It works in parts, because a whole set in float64 may not fit in
    memory."""
    if values.dtype == np.uint8 and chosen == BYTES:
        return values
    levels = np.empty(values.shape, np.uint8)
    rows = max(1, _AT_ONCE * len(values) // max(1, values.size))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64)
        scaled = (part - chosen.low) * (255 / (chosen.high - chosen.low))
        levels[start : start + rows] = np.clip(np.rint(scaled), 0, 255)
    return levels


def dark_note(level: int) -> str:
    """Return a warning for a data set whose brightest pixel has this level; empty if it is bright
    enough."""
    if level >= 2 * DARK:
        return ""
    return (
        f"{_dark(level)}: a network trained on them does badly on ordinary pictures. If this is "
        "a mistake, make them again with their full range"
    )


def _dark(level: float) -> str:
    return f"the images are nearly black: no pixel is above level {level:g} of 255"


def _of_parts(alike: Sequence[Piece], spans: Sequence[Range], whole: Range) -> Range:
    dtype = alike[0].values.dtype
    ranges = [_plain(dtype, span) for span in spans]
    found = {one for one in ranges if one is not None}
    if len(found) > 1:
        listed = ", ".join(f"{p.name} {span}" for p, span in zip(alike, spans, strict=True))
        raise DataError(
            f"{alike[0].name}: wanted the same range in all parts, got {listed}. Scale them to "
            "one range first"
        )
    for piece, span, plain in zip(alike, spans, ranges, strict=True):
        if plain is None and (not found or len(piece.values) >= _MANY):
            _ask(piece.name, str(dtype), span)
    return found.pop() if found else _ask(alike[0].name, str(dtype), whole)


def _plain(dtype: np.dtype[Any], span: Range) -> Range | None:
    """Return the range if dtype and values leave no doubt."""
    if dtype.kind == "b":
        return FLAGS
    if dtype.kind == "f" and span.high >= 0.5 and UNIT.holds(span):
        return UNIT
    if span.high >= BRIGHT and BYTES.holds(span):
        return BYTES
    if dtype == np.uint16 and span.high >= BRIGHT * 257:
        return WORDS
    return None


def _span(piece: Piece) -> Range:
    """Return the minimum and maximum. Raises ``DataError`` for values that are not finite
    numbers."""
    values = piece.values
    if values.dtype.kind not in "biuf":
        raise DataError(f"{piece.name}: wanted images of numbers, got {values.dtype}")
    span = Range(float(values.min()), float(values.max()))
    if not (math.isfinite(span.low) and math.isfinite(span.high)):
        bad = ~np.isfinite(values)
        first = int(np.argwhere(bad)[0][0])
        raise DataError(
            f"{piece.name}: {int(bad.sum()):,} pixels are infinite or not a number, the first in "
            f"[{first}]. Leave these images out, or repair them"
        )
    return span


def _ask(name: str, dtype: str, span: Range) -> Any:
    """Raise ``DataError`` that asks for the values of black and white."""
    if span.low == span.high:
        raise DataError(f"{name}: the images are blank: {dtype}, every pixel {span.low:g}")
    if span.low < 0:
        low, high = Range(-1, 1) if Range(-1, 1).holds(span) else span
    else:
        low, high = 0.0, next((w for w in _WHITES if 1 <= span.high <= w), span.high)
    if dtype.startswith("float") and 1 < span.high < min(2, _WHITES[1]) and span.low >= 0:
        high = span.high
    meant = f"range=({low:g}, {high:g})"
    if span.low >= 0 and 1 < span.high < BRIGHT:
        meant += ", or range=(0, 255) if they are as dark as that"
    elif 0 <= span.low < span.high < 1:
        meant += ", or range=(0, 1) if they are as dark as that"
    raise DataError(
        f"{name}: wanted pixels of 0 to 255, floats of 0 to 1, or booleans; got {dtype} from "
        f"{span}. Give the levels of black and white, such as {meant}. On the command line use "
        f"--range {low:g} {high:g}; in an .npz or a .mat, an array called range"
    )
