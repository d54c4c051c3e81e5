"""Read a CSV with the pixels of an image in each row, such as Kaggle's digits.

Axes: N images, H height, W width.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.arrays import PLAIN, ArrayForm, ArrayPart, dataset_of
from firstlight.data.columns import (
    ORIGINS,
    Columns,
    columns_of,
    grouped,
    groups_of,
    parts_of,
    unused,
)
from firstlight.data.dataset import Dataset
from firstlight.data.missing import refuse_missing
from firstlight.data.sheet import Sheet, heading_key, lines_of, read_sheet
from firstlight.data.split import TEST, TRAIN, VALIDATION, together
from firstlight.errors import DataError

LEAST_SIDE = 8
"""A table with fewer columns than such images have pixels is not a table of images."""
_COUNTERS = ("", "id", "index", "imageid", "rowid", "unnamed0")
_NO_PIXELS = {*_COUNTERS, *ORIGINS}
_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class PixelTable:
    """A CSV with an image in each row, and the meaning of its columns."""

    sheet: Sheet
    lines: tuple[tuple[int, list[str]], ...]
    """(line number, cells that are not pixels in their places) of each row."""
    images_NHW: npt.NDArray[Any]
    """uint8 if all are whole numbers from 0 to 255, otherwise float32."""
    columns: Columns
    notes: tuple[str, ...]


def read_pixel_table(file: Path, form: ArrayForm = PLAIN) -> tuple[Dataset, list[str]]:
    """Read the images of a CSV, and the part of each, empty without parts.

    The CSV has one column for the class and a column for each pixel of a square grey picture, with
    or without headings. It may have columns for part and group, as in a CSV of paths. Raises
    ``DataError``.
    """
    table = open_pixel_table(read_sheet(file))
    assert table is not None, "the caller has checked this"
    return read_tables([(table, "")], form, str(file))


def read_tables(
    tables: Sequence[tuple[PixelTable, str]], form: ArrayForm, name: str
) -> tuple[Dataset, list[str]]:
    """Read the images of several CSVs as ``read_pixel_table`` does. Each comes with the part of its
    rows, used if no column states it."""
    parts, groups, notes = list[ArrayPart](), list[str](), list[str]()
    for table, part in tables:
        mine, of_mine = _in_parts(table, part)
        parts += mine
        groups += of_mine
        notes += table.notes
    data, part_of = dataset_of(parts, form, name)
    data = replace(data, notes=(*data.notes, *notes), warnings=(*data.warnings, *notes))
    return replace(data, groups_N=together(groups)), part_of


def _in_parts(table: PixelTable, part: str) -> tuple[list[ArrayPart], list[str]]:
    """Return the images by part, and the group of each in that order."""
    file = table.sheet.file
    if table.columns.label is None:
        raise DataError(
            f"{file}: has images of {_by(table.images_NHW)} but no column label. To get answers "
            "for such a CSV, use firstlight predict"
        )
    labels = [cells[table.columns.label] for _, cells in table.lines]
    refuse_missing(str(file), labels, "line", [line for line, _ in table.lines])
    part_of = [one or part for one in parts_of(table.sheet, table.columns, table.lines)]
    first = ("", TRAIN, VALIDATION, TEST).index
    order = sorted(range(len(part_of)), key=lambda at: first(part_of[at]))
    numbers = [int(label) for label in labels] if all(map(_is_whole, labels)) else None
    chosen = np.array(labels if numbers is None else numbers)[order]
    found = [part_of[at] for at in order]
    parts = []
    for one in dict.fromkeys(found):
        mine_N = np.array([other == one for other in found])
        parts.append(
            ArrayPart(
                part=one,
                images=table.images_NHW[order][mine_N],
                labels=chosen[mine_N],
                images_name=str(file),
                labels_name=f"{file}: labels",
            )
        )
    groups = groups_of(table.columns, table.lines)
    return parts, [groups[at] for at in order]


def open_pixel_table(sheet: Sheet) -> PixelTable | None:
    """Open the images and the other columns of a CSV; None if its rows are not images."""
    sheet, columns, pixels = _find_columns(sheet)
    if not pixels:
        return None
    side = math.isqrt(len(pixels))
    others = sorted(set(range(len(sheet.headings))) - set(pixels))
    lines, images_NHW = _read(sheet, others, pixels, side)
    if not lines:
        raise DataError(f"{sheet.file}: has headings but no rows")
    notes = [f"{sheet.file.name}: {note}" for note in sheet.notes]
    used = {*columns.used, *pixels}
    if not sheet.headings[pixels[0]]:
        columns, note = _without_headings(columns, lines)
        notes.append(f"{sheet.file.name}: {note}")
        used = set(range(len(sheet.headings)))
    counters = {at for at, name in enumerate(sheet.headings) if heading_key(name) in _COUNTERS}
    if "emnist" in sheet.file.name.lower():
        images_NHW = images_NHW.transpose(0, 2, 1)
        notes.append(f"{sheet.file.name}: EMNIST's images are stored on their side; turned upright")
    notes += [*grouped(sheet, columns), *unused(sheet, used | counters)]
    return PixelTable(
        sheet=sheet,
        lines=tuple(lines),
        images_NHW=images_NHW,
        columns=columns,
        notes=tuple(notes),
    )


def is_pixel_table(sheet: Sheet) -> bool:
    """Return whether the rows are images, judging by the headings and the first row."""
    return bool(_find_columns(sheet)[2])


def _find_columns(sheet: Sheet) -> tuple[Sheet, Columns, list[int]]:
    """Return the sheet (without headings if they are a row of numbers), its columns, and the pixel
    columns in pixel order, empty if the rows are not images."""
    headings = sheet.headings
    while headings and not headings[-1]:  # each line ends with a separator
        headings = headings[:-1]
    if len(headings) < LEAST_SIDE**2:
        return sheet, Columns(None, None, {}, None), []
    numeric = [_is_number(name) for name in headings]
    if sum(numeric) >= len(headings) - 1:
        row = sheet.separator.join(headings)
        bare = replace(
            sheet,
            headings=("",) * len(headings),
            text=f"{row}\n{sheet.text}",
            first_line=sheet.first_line - 1,
        )
        return bare, Columns(None, None, {}, None), _bare_pixels(sheet, numeric)
    columns = columns_of(sheet)
    others = {*columns.used, *(at for at, h in enumerate(headings) if heading_key(h) in _NO_PIXELS)}
    pixels = [at for at in range(len(headings)) if at not in others]
    first = next(sheet.rows(), None)
    if first is None or len(pixels) < LEAST_SIDE**2:
        return sheet, columns, []
    if sum(_is_number(first[1][at]) for at in pixels) < len(pixels) * 0.9:
        return sheet, columns, []
    _check_square(sheet, len(pixels))
    return sheet, columns, _in_order(headings, pixels)


def _bare_pixels(sheet: Sheet, numeric: list[bool]) -> list[int]:
    """Return the pixel columns if there are no headings; the others are first or last."""
    count = len(numeric)
    if math.isqrt(count) ** 2 == count and all(numeric):
        return list(range(count))
    _check_square(sheet, count - 1)
    label = _label_place(sheet, numeric)
    return [at for at in range(count) if at != label]


def _label_place(sheet: Sheet, numeric: list[bool]) -> int:
    """Return the column of the labels: the first one, unless it has a single value or the last one
    has names."""
    last = len(numeric) - 1
    if not all(numeric):
        return numeric.index(False)
    first = {cells[0] for _, cells in islice(sheet.rows(), 1000)} | {sheet.headings[0]}
    return 0 if len(first) > 1 else last


def _without_headings(
    columns: Columns, lines: Sequence[tuple[int, list[str]]]
) -> tuple[Columns, str]:
    cells = lines[0][1]
    place = next((at for at, cell in enumerate(cells) if cell), None)
    if place is None:
        return columns, "no headings, and no column for the class"
    where = "first" if place == 0 else "last"
    return columns._replace(label=place), f"no headings: the {where} column is used as the class"


def _check_square(sheet: Sheet, count: int) -> None:
    if math.isqrt(count) ** 2 == count:
        return
    colour = count % 3 == 0 and math.isqrt(count // 3) ** 2 == count // 3
    why = (
        f"{count:,} would be a colour picture of {math.isqrt(count // 3)} × "
        f"{math.isqrt(count // 3)}, but a CSV does not define the order of the channels. Save it "
        "as .npz"
        if colour
        else "name the others label, part, group or id, or save the images as .npz"
    )
    raise DataError(
        f"{sheet.file}: wanted the pixels of a square picture, such as 784 columns, got "
        f"{count:,} columns of numbers: {why}"
    )


def _in_order(headings: Sequence[str], pixels: list[int]) -> list[int]:
    """Sort the columns by the numbers in their headings, if all have the same count of numbers and
    none occurs twice."""
    keys = [tuple(map(int, re.findall(r"\d+", headings[at]))) for at in pixels]
    if len({len(key) for key in keys}) > 1 or len(set(keys)) < len(keys):
        return pixels
    return [at for _, at in sorted(zip(keys, pixels, strict=True))]


def _read(
    sheet: Sheet, others: list[int], pixels: list[int], side: int
) -> tuple[list[tuple[int, list[str]]], npt.NDArray[Any]]:
    """Return the cells that are not pixels, in their places, and the pixels."""
    lines, stacks = list[tuple[int, list[str]]](), list[npt.NDArray[Any]]()
    plain = '"' not in sheet.text
    first, text = sheet.first_line, lines_of(sheet.text)
    while chunk := list(islice(text, _AT_ONCE)) if plain else []:
        read = _fast(sheet, chunk, first, others, pixels)
        if read is None:
            break
        lines += read[0]
        stacks.append(_narrow(read[1]))
        first += len(chunk)
    else:
        return (lines, _joined(stacks, side)) if plain else _slow(sheet, others, pixels, side)
    return _slow(sheet, others, pixels, side)


def _fast(
    sheet: Sheet, chunk: list[str], first: int, others: list[int], pixels: list[int]
) -> tuple[list[tuple[int, list[str]]], npt.NDArray[Any]] | None:
    """Parse several lines at once; None if they are not all simple rows of numbers."""
    separators = len(sheet.headings) - 1
    if any(line.count(sheet.separator) != separators for line in chunk):
        return None
    try:
        values = np.loadtxt(
            chunk, np.float32, comments=None, delimiter=sheet.separator, usecols=pixels, ndmin=2
        )
    except ValueError:
        return None
    if not np.isfinite(values).all() or len(values) != len(chunk):
        return None
    ends = max(others, default=0), len(sheet.headings) - min(others, default=0)
    lines = []
    for number, line in enumerate(chunk):
        kept = [""] * len(sheet.headings)
        if others and ends[0] < ends[1]:
            cells = line.split(sheet.separator, ends[0] + 1)
        else:
            cells = line.rsplit(sheet.separator, ends[1])
            cells = [""] * (len(kept) - len(cells)) + cells
        for at in others:
            kept[at] = cells[at].strip()
        lines.append((first + number, kept))
    return lines, values


def _slow(
    sheet: Sheet, others: list[int], pixels: list[int], side: int
) -> tuple[list[tuple[int, list[str]]], npt.NDArray[Any]]:
    """Parse any CSV; errors name the line and column of what is not a number."""
    lines, stacks, rows = list[tuple[int, list[str]]](), list[npt.NDArray[Any]](), sheet.rows()
    while chunk := list(islice(rows, _AT_ONCE)):
        values = np.empty((len(chunk), len(pixels)), np.float32)
        for number, (line, cells) in enumerate(chunk):
            try:
                values[number] = [float(cells[at]) for at in pixels]
                is_number = bool(np.isfinite(values[number]).all())
            except ValueError:
                is_number = False
            if not is_number:
                at = next(at for at in pixels if not _is_number(cells[at]))
                raise DataError(
                    f"{sheet.file}, line {line}: wanted a number in each column of pixels, got "
                    f"{cells[at]!r} in column {at + 1}"
                )
            keep = set(others)
            lines.append((line, [cell if at in keep else "" for at, cell in enumerate(cells)]))
        stacks.append(_narrow(values))
    return lines, _joined(stacks, side)


def _narrow(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert to uint8 if all values fit."""
    whole = values.min() >= 0 and values.max() <= 255 and (values == np.rint(values)).all()
    return values.astype(np.uint8) if whole else values


def _joined(stacks: list[npt.NDArray[Any]], side: int) -> npt.NDArray[Any]:
    if any(stack.dtype != np.uint8 for stack in stacks):
        stacks = [stack.astype(np.float32) for stack in stacks]
    images = np.concatenate(stacks) if stacks else np.empty((0, side * side), np.uint8)
    return images.reshape(-1, side, side)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _is_whole(label: str) -> bool:
    return re.fullmatch(r"[+-]?\d{1,15}", label) is not None


def _by(images_NHW: npt.NDArray[Any]) -> str:
    _, height, width = images_NHW.shape
    return f"{width} × {height} pixels"
