"""A list of corrections to a set of pictures: which to leave out, and which have another class."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from firstlight.data.columns import LABELS, PATHS
from firstlight.data.listing import Listing, class_name, counted
from firstlight.data.sheet import read_sheet
from firstlight.errors import DataError
from firstlight.untrusted import from_cell


@dataclass(frozen=True, kw_only=True)
class Fixes:
    """Corrections by the names of pictures. The files stay as they are."""

    left_out: tuple[str, ...] = ()
    relabelled: Mapping[str, str] = field(default_factory=dict)
    """Name of a picture to its class."""

    def __bool__(self) -> bool:
        return bool(self.left_out or self.relabelled)

    @property
    def notes(self) -> list[str]:
        """What is done, for people."""
        notes = []
        if left_out := len(set(self.left_out)):
            notes.append(f"{left_out:,} of the pictures left out, as requested")
        if moved := len(self.relabelled):
            notes.append(f"{counted(moved, 'picture')} given another class, as requested")
        return notes


NO_FIXES = Fixes()


def read_fixes(file: Path) -> Fixes:
    """Read a CSV of pictures by ``path``, also if their names are no text. A row with a ``label``
    gives the picture that class; a row without leaves it out.

    Raises ``DataError`` if there is no column ``path``, or a picture is listed twice with
    different labels.
    """
    sheet = read_sheet(file, guess=False)
    at, label_at = sheet.column(PATHS), sheet.column(LABELS)
    if at is None:
        raise DataError(f"{file}: wanted a column path in the first line, got {sheet.shown}")
    found = set[tuple[str, str]]()
    for _, cells in sheet.rows(strip=False):
        if cells[at]:
            label = "" if label_at is None else class_name(from_cell(cells[label_at])).strip()
            found.add((from_cell(cells[at]), label))
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise DataError(f"{file}: {min(twice)} is listed twice, with different labels")
    return Fixes(
        left_out=tuple(sorted(name for name, label in found if not label)),
        relabelled={name: label for name, label in sorted(found) if label},
    )


def fixed(listing: Listing, fixes: Fixes) -> Listing:
    """Return the listing with the corrections.

    Raises ``DataError`` for a picture or a class that is not there, for a class that a picture has
    already, and if a class loses its last picture.
    """
    if not fixes:
        return listing
    have = {picture.name: picture for picture in listing.pictures}
    strange = sorted({*fixes.left_out, *fixes.relabelled} - set(have))
    if strange:
        what = "leave out" if strange[0] in fixes.left_out else "give another class"
        raise DataError(
            f"{listing.root} has no picture {strange[0]!r} to {what}; names start at the folder, "
            f"such as {listing.pictures[0].name}"
        )
    if fixes.relabelled and listing.several:
        raise DataError(
            f"{listing.root}: pictures have several labels, so a correction can only leave them "
            "out. Correct labels in the CSV of the pictures"
        )
    numbers = {
        name: label_number(listing.class_names, listing.class_names[have[name].label], name, label)
        for name, label in fixes.relabelled.items()
    }
    gone = set(fixes.left_out)
    left = tuple(
        picture._replace(label=numbers.get(picture.name, picture.label))
        for picture in listing.pictures
        if picture.name not in gone
    )
    there = {label for picture in left for label in picture.classes}
    for label, name in enumerate(listing.class_names):
        if label not in there:
            raise DataError(
                f"{listing.root}: every picture of {name!r} would be left out or given another "
                "class"
            )
    return listing.with_pictures(left, fixes.notes)


def label_number(class_names: tuple[str, ...], given: str, name: str, label: str) -> int:
    """Return the number of the class that a correction gives a picture. Raises ``DataError`` if
    there is no such class, or it is the one that it has."""
    if label not in class_names:
        some = ", ".join(class_names[:10]) + (", …" if len(class_names) > 10 else "")
        raise DataError(
            f"the correction of {name} gives it the class {label!r}, which is not there; the "
            f"classes are {some}"
        )
    if label == given:
        raise DataError(
            f"the correction of {name} gives it the class {label!r}, which it has already. Remove "
            "the row, or leave its label empty to leave the picture out"
        )
    return class_names.index(label)
