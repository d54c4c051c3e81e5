"""The corrections to a set of pictures that are made in the page: a CSV in the working folder, as
``train --fixes`` takes it. The pictures themselves stay as they are."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from firstlight.data.catalog import CATALOG
from firstlight.data.fixes import Fixes, fixed, read_fixes
from firstlight.data.folder import list_folder
from firstlight.data.listing import Listing
from firstlight.data.sheet import read_sheet
from firstlight.errors import DataError
from firstlight.files import make_folder, write_whole
from firstlight.studio.workshop import Workshop
from firstlight.untrusted import cell, csv_text, from_cell

MOST_REASON = 200
"""Characters of a reason."""


class Row(NamedTuple):
    """The correction of one picture."""

    label: str
    """Its class; empty if it is left out."""
    reason: str


class FixList:
    """The corrections to one set."""

    def __init__(self, workshop: Workshop, word: str) -> None:
        """``word`` is the folder's path from the working folder on."""
        self.word = f"{workshop.fixes.name}/{word}.csv"
        self.path = Path(workshop.root, self.word)

    @property
    def rows(self) -> dict[str, Row]:
        """The correction of each picture by its name. Raises ``DataError`` for a damaged file."""
        if not self.path.is_file():
            return {}
        fixes = read_fixes(self.path)
        sheet = read_sheet(self.path, guess=False)
        at, reason_at = sheet.column(("path",)), sheet.column(("reason",))
        reasons = {
            from_cell(cells[at]): from_cell(cells[reason_at])
            for _, cells in sheet.rows(strip=False)
            if at is not None and reason_at is not None
        }
        labels = {**dict.fromkeys(fixes.left_out, ""), **fixes.relabelled}
        return {name: Row(label, reasons.get(name, "")) for name, label in labels.items()}

    def change(self, listing: Listing, names: Iterable[str], row: Row | None) -> None:
        """Correct these pictures, or with None take their corrections back. Rows of pictures that
        are gone are dropped.

        Raises ``DataError`` if a picture or a class is not there, or a class would lose its last
        picture.
        """
        given = {one.name: listing.class_names[one.label] for one in listing.pictures}
        rows = {name: row for name, row in self.rows.items() if name in given}
        for name in names:
            if name not in given:
                raise DataError(f"there is no picture {name!r} in this set")
            rows.pop(name, None)
            if row is not None and row.label != given[name]:
                rows[name] = row
        fixed(listing, _fixes(rows))
        self._write(rows)

    def keep_only(self, listing: Listing) -> str:
        """Drop rows that do not fit any more: of pictures that are gone, and of classes that are
        gone or are the picture's own. Return the file's name from the working folder on, or an
        empty text if no row is left."""
        given = {one.name: listing.class_names[one.label] for one in listing.pictures}
        before = self.rows
        rows = {
            name: row
            for name, row in before.items()
            if name in given and row.label != given[name] and row.label in ("", *given.values())
        }
        if rows != before:
            self._write(rows)
        return self.word if rows else ""

    def rename_class(self, label: str, to: str) -> None:
        """A folder of a class has another name now."""
        before = self.rows
        if not before:
            return
        rows = dict[str, Row]()
        for name, row in before.items():
            head, slash, rest = name.partition("/")
            place = f"{to}{slash}{rest}" if head == label else name
            rows[place] = row._replace(label=to) if row.label == label else row
        self._write(rows)

    def _write(self, rows: dict[str, Row]) -> None:
        lines = [[cell(name), cell(row.label), cell(row.reason)] for name, row in rows.items()]
        try:
            make_folder(self.path.parent)
            write_whole(self.path, csv_text([["path", "label", "reason"], *sorted(lines)]))
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from error


def fixes_of(workshop: Workshop, word: str) -> str:
    """Return the file of the corrections to a set, from the working folder on, without rows that do
    not fit any more; empty if there is none, as for a named set.

    Raises ``DataError`` for a damaged file.
    """
    found = FixList(workshop, word)
    if word in CATALOG or not found.path.is_file():
        return ""
    return found.keep_only(list_folder(workshop.root / word, least=1))


def _fixes(rows: dict[str, Row]) -> Fixes:
    return Fixes(
        left_out=tuple(name for name, row in rows.items() if not row.label),
        relabelled={name: row.label for name, row in rows.items() if row.label},
    )
