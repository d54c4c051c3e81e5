"""What ``predict`` is asked about: pictures, and tables of pixels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from firstlight.data.levels import Range, levels_to_ask
from firstlight.data.pictures import PictureSource, each_picture
from firstlight.data.pixel_table import open_pixel_table
from firstlight.data.sheet import heading_key, read_sheet
from firstlight.data.table import PATHS
from firstlight.errors import DataError

_TABLES = (".csv", ".tsv")


def pictures_asked(
    words: Sequence[str],
    stdin: BinaryIO | None = None,
    given: Range | None = None,
    key: str = "",
) -> Iterator[PictureSource]:
    """``each_picture``, and of a CSV of pixels one picture for each row, numbered from 1. ``given``
    is the range of those pixels, where it is not plain; a column called ``key`` has the keys of the
    rows, if there is one."""
    for word in words:
        if Path(word).suffix.lower() in _TABLES and Path(word).is_file():
            yield from _rows(word, given, key)
        else:
            yield from each_picture([word], stdin)
            # A stream ends once: a second "-" has nothing left to read.
            stdin = None if word == "-" else stdin


def _rows(word: str, given: Range | None, key: str) -> list[PictureSource]:
    try:
        sheet = read_sheet(Path(word))
        table = open_pixel_table(sheet)
        if table is None:
            what = "names pictures" if sheet.column(PATHS) is not None else "holds no pixels"
            raise DataError(
                f"{word}: this CSV {what}; wanted picture files, or a CSV with a column for each "
                "pixel"
            )
        (levels_NHW,), notes = levels_to_ask([table.images_NHW], len(table.images_NHW), given)
    except DataError as error:
        return [PictureSource(name=word, problem=str(error).removeprefix(f"{word}: "))]
    keys = [str(row) for row in range(1, len(levels_NHW) + 1)]
    at = sheet.column([heading_key(key)]) if key else None
    if at is not None:
        keys = [cells[at] for _, cells in table.lines]
    return [
        PictureSource(
            name=f"{word}:{row}", content=Image.fromarray(image_HW), notes=notes, key=keys[row - 1]
        )
        for row, image_HW in enumerate(levels_NHW, start=1)
    ]
