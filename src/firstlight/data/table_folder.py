"""Read a folder of CSVs with the pixels of an image in each row, like Kaggle's digits:
``train.csv`` with labels and ``test.csv``, usually without."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from firstlight.data.arrays import PLAIN, ArrayForm
from firstlight.data.dataset import Dataset
from firstlight.data.pixel_table import (
    LEAST_SIDE,
    PixelTable,
    is_pixel_table,
    open_pixel_table,
    read_tables,
)
from firstlight.data.sheet import read_sheet
from firstlight.data.split import TRAIN, part_in_name
from firstlight.errors import DataError

_ENDINGS = (".csv", ".tsv")
_SEPARATORS = (b",", b";", b"\t", b"|")
_START, _FIRST = 1 << 20, 8
"""Bytes and lines that are read first. Empty lines and a line that names the separator may come
before the headings."""


def table_files(folder: Path) -> list[Path]:
    """Return the sorted CSVs of pixels directly in a folder."""
    try:
        found = sorted(
            one
            for one in folder.iterdir()
            if one.suffix.lower() in _ENDINGS and not one.name.startswith(".") and one.is_file()
        )
    except OSError:
        return []
    return [one for one in found if _holds_pixels(one)]


def _holds_pixels(file: Path) -> bool:
    """Return whether it is a CSV of pixels. If its first lines have few cells, no more is read."""
    try:
        with file.open("rb") as opened:
            lines = opened.read(_START).splitlines()[:_FIRST]
        cells = max((line.count(sign) for line in lines for sign in _SEPARATORS), default=0) + 1
        return cells >= LEAST_SIDE**2 and is_pixel_table(read_sheet(file))
    except (OSError, DataError):  # a table of another kind
        return False


def read_table_folder(folder: Path, form: ArrayForm = PLAIN) -> tuple[Dataset, list[str]]:
    """Read the images of the CSVs in a folder, and the part of each, empty without parts.

    A file's name says the part: ``train.csv``, ``mnist_test.csv``. A file without labels is left
    out, with a note. Raises ``DataError``.
    """
    tables, notes = list[tuple[PixelTable, str]](), list[str]()
    for file in table_files(folder):
        table = open_pixel_table(read_sheet(file))
        assert table is not None, "looked at before"
        if table.columns.label is None:
            notes.append(
                f"{file.name}: has no labels, left out. To get answers for it: firstlight "
                f"predict RUN {file.name}"
            )
            continue
        tables.append((table, part_in_name(file.stem).part))
    parts = [part for _, part in tables]
    if not tables:
        raise DataError(f"{folder}: none of its CSVs of pixels has a column label to train on")
    if len(tables) == 1 and parts != [TRAIN]:
        raise DataError(
            f"{folder}: wanted train.csv with labels, got {tables[0][0].sheet.file.name}. To "
            "train on it, name the file itself"
        )
    if max(Counter(parts).values()) > 1 or TRAIN not in parts or "" in parts:
        names = ", ".join(table.sheet.file.name for table, _ in tables)
        raise DataError(
            f"{folder}: wanted one CSV of pixels for each part, such as train.csv and test.csv, "
            f"got {names}. Put the files of one data set into their own folder, or name one file"
        )
    if len(tables) > 1 and any(t.columns.part is not None or t.columns.flags for t, _ in tables):
        raise DataError(
            f"{folder}: the parts are named by the files and also by a column in them. Remove "
            "the column"
        )
    tables.sort(key=lambda one: ("train", "validation", "test").index(one[1]))
    if len(tables) == 1:
        tables = [(tables[0][0], "")]
    data, part_of = read_tables(tables, form, str(folder))
    return replace(data, notes=(*data.notes, *notes), warnings=(*data.warnings, *notes)), part_of
