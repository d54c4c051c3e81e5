"""The input of ``predict``: pictures, tables of pixels, and tables that name pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from firstlight.data.columns import columns_of, path_column
from firstlight.data.levels import Range, levels_to_ask
from firstlight.data.named_files import FilesBeside
from firstlight.data.pictures import PictureSource, each_picture, printable_path
from firstlight.data.pixel_table import open_pixel_table
from firstlight.data.sheet import Sheet, heading_key, read_sheet
from firstlight.errors import DataError

_TABLES = (".csv", ".tsv")


def pictures_asked(
    words: Sequence[str],
    stdin: BinaryIO | None = None,
    given: Range | None = None,
    key: str = "",
) -> Iterator[PictureSource]:
    """Yield what ``each_picture`` does, and for a CSV the picture of each row: its pixels, numbered
    from 1, or the file that it names. ``given`` is the range of the pixels, if it cannot be
    guessed. A column named ``key`` holds the keys of the rows, if there is one."""
    for word in words:
        if Path(word).suffix.lower() in _TABLES and Path(word).is_file():
            yield from _rows(word, given, key)
        else:
            yield from each_picture([word], stdin)
            # Standard input can be read once: a second "-" has nothing left.
            stdin = None if word == "-" else stdin


def _rows(word: str, given: Range | None, key: str) -> list[PictureSource]:
    try:
        sheet = read_sheet(Path(word))
        if (table := open_pixel_table(sheet)) is None:
            return _named(sheet, key)
        (levels_NHW,), notes = levels_to_ask([table.images_NHW], len(table.images_NHW), given)
    except DataError as error:
        # The name is said before the problem; a line of the file may stand between them.
        problem = str(error).removeprefix(str(Path(word))).lstrip(":, ")
        return [PictureSource(name=word, problem=problem)]
    keys = _keys(sheet, table.lines, key) or [str(row + 1) for row in range(len(levels_NHW))]
    return [
        PictureSource(
            name=f"{word}:{row}", content=Image.fromarray(image_HW), notes=notes, key=keys[row - 1]
        )
        for row, image_HW in enumerate(levels_NHW, start=1)
    ]


def _named(sheet: Sheet, key: str) -> list[PictureSource]:
    """Return the pictures that a CSV names. Of the other columns, only ``key`` is used."""
    beside = FilesBeside(sheet.file)
    at, _ = path_column(sheet, columns_of(sheet), beside.nearness)
    rows = list(sheet.rows())
    if at is not None and not rows:
        raise DataError(f"{sheet.file}: has headings but no rows")
    if at is None:
        raise DataError(
            f"{sheet.file}: wanted a CSV with a column for each pixel, or with a column path that "
            f"names pictures, got {sheet.shown}"
        )
    names, _ = beside.names([(line, cells[at]) for line, cells in rows], allow_outside=False)
    keys = _keys(sheet, rows, key) or [""] * len(rows)
    root = sheet.file.parent
    return [
        PictureSource(name=printable_path(str(root / name)), content=root / name, key=one)
        for name, one in zip(names, keys, strict=True)
    ]


def _keys(sheet: Sheet, rows: Sequence[tuple[int, list[str]]], key: str) -> list[str]:
    """Return the values of the column named ``key``, empty if there is none."""
    at = sheet.column([heading_key(key)]) if key else None
    return [] if at is None else [cells[at] for _, cells in rows]
