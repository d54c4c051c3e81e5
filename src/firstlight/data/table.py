"""A CSV that names picture files and their classes."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from firstlight.data.archive import is_archive, list_archive
from firstlight.data.folder import list_folder
from firstlight.data.listing import Found, Listing, class_name, counted, listing_of
from firstlight.data.missing import refuse_missing
from firstlight.data.shards.files import names_shards
from firstlight.data.shards.load import listed_at
from firstlight.data.sheet import Sheet, heading_key, read_sheet
from firstlight.data.split import PART_NAMES, TEST, TRAIN, VALIDATION, part_in_name
from firstlight.errors import DataError
from firstlight.untrusted import from_cell

# Headings without case, spaces and signs, the likeliest first.
PATHS = (
    *("path", "filepath", "imagepath", "imgpath", "picturepath", "filename", "file", "imagename"),
    *("imagefile", "imagefilename", "image", "img", "picture", "photo", "imageid"),
)
LABELS = ("label", "labels", "class", "classname", "classlabel", "category", "target", "y")
_PARTS = ("part", "split", "set", "subset", "dataset", "partition")
_SURE_PARTS = ("part", "split")
_FLAGS = {"isvalid": VALIDATION, "isvalidation": VALIDATION, "isval": VALIDATION, "istest": TEST}
_YES, _NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0"}
_GROUPS = (
    *("group", "groupid", "patient", "patientid", "subject", "subjectid"),
    *("participant", "participantid"),
)
ORIGINS = ("source", "sourceid", "slide", "slideid", "writer", "writerid", "site", "siteid")
"""Columns that group pictures too, where each class has enough of them to split by."""
_LEAST_ORIGINS = 5


class Columns(NamedTuple):
    """Which column of a CSV says what, by number."""

    label: int | None
    part: int | None
    flags: dict[int, str]
    """Columns of yes or no, and the part that a yes puts into; without ``part``."""
    group: int | None

    @property
    def used(self) -> set[int]:
        """All of them."""
        single = {self.label, self.part, self.group} - {None}
        return {*self.flags, *(number for number in single if number is not None)}


def list_pictures(path: Path, *, allow_outside: bool = False, least: int = 2) -> Listing:
    """``list_folder`` of a folder, ``list_archive`` of a ZIP archive, the images of shards,
    ``list_csv`` of another file."""
    if names_shards(path):
        return listed_at(path)
    if not path.is_file():
        return list_folder(path, least=least)
    if is_archive(path):
        return list_archive(path, least=least)
    return list_csv(path, allow_outside=allow_outside, least=least)


def list_csv(file: Path, *, allow_outside: bool = False, least: int = 2) -> Listing:
    """The pictures of a CSV with a column for the path, from the CSV's folder on, and one for the
    class; perhaps for the part (``part``, ``is_valid``) and for the group that stays together.

    A path that leads out of the CSV's folder is taken with ``allow_outside`` alone. Raises
    ``DataError``, which names the line.
    """
    sheet = read_sheet(file)
    at, columns = _columns(sheet)
    rows = list(sheet.rows())
    if not rows:
        raise DataError(f"{file}: has headings but no row below them")
    lines = [line for line, _ in rows]
    assert columns.label is not None, "_columns sees to it"
    labels = [cells[columns.label] for _, cells in rows]
    for line, cells in rows:
        if not cells[at]:
            raise DataError(f"{file}, line {line}: wanted a path and a label")
    refuse_missing(str(file), labels, "line", lines)
    names = _names(file, [(line, cells[at]) for line, cells in rows], allow_outside)
    parts = parts_of(sheet, columns, rows)
    groups = groups_of(columns, rows)
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{file}: {twice[0]} stands there more than once")
    found = [
        Found(part, class_name(label), name, group)
        for part, label, name, group in zip(parts, labels, names, groups, strict=True)
    ]
    notes = [f"{file.name}: {note}" for note in sheet.notes]
    notes += [*grouped(sheet, columns), *unused(sheet, {at, *columns.used})]
    notes += _split_groups(found)
    return listing_of(file.parent, found, notes, least)


def read_names(file: Path) -> tuple[str, ...]:
    """The column ``path`` of a CSV: pictures to leave out, also those whose names are no text.
    Raises ``DataError``."""
    sheet = read_sheet(file, guess=False)
    at = sheet.column(PATHS)
    if at is None:
        raise DataError(f"{file}: wanted a column path in the first line, got {sheet.shown}")
    return tuple(from_cell(cells[at]) for _, cells in sheet.rows(strip=False) if cells[at])


def columns_of(sheet: Sheet) -> Columns:
    """The columns for class, part and group, by their headings."""
    part = sheet.column(_PARTS)
    if part is not None and heading_key(sheet.headings[part]) not in _SURE_PARTS:
        words = {cells[part] for _, cells in sheet.rows()} - {""}
        part = part if all(part_in_name(word).is_exact for word in words) else None
    flags = {
        at: _FLAGS[key]
        for at, heading in enumerate(sheet.headings)
        if part is None and (key := heading_key(heading)) in _FLAGS
    }
    label, group = sheet.column(LABELS), sheet.column(_GROUPS)
    return Columns(label, part, flags, _origin(sheet, label) if group is None else group)


def _origin(sheet: Sheet, label: int | None) -> int | None:
    """The column that says where a picture is from, unless a class has too few origins: a split
    that keeps them together would leave that class out of the test."""
    at = sheet.column(ORIGINS)
    if at is None or label is None:
        return None
    origins = defaultdict[str, set[str]](set)
    for line, cells in sheet.rows():
        origins[cells[label]].add(cells[at] or f"line {line}")
    return at if min(map(len, origins.values()), default=0) >= _LEAST_ORIGINS else None


def _columns(sheet: Sheet) -> tuple[int, Columns]:
    """The column with the paths, and the others. Of two columns that are left, what one is not, the
    other is."""
    file, columns, at = sheet.file, columns_of(sheet), sheet.column(PATHS)
    left = set(range(len(sheet.headings))) - columns.used - {at}
    if at is not None and columns.label is None and len(left) == 1:
        columns = columns._replace(label=left.pop())
    elif at is None and columns.label is not None and len(left) == 1:
        at = left.pop()
    if at is None or columns.label is None:
        if any(_is_file(file.parent, heading) for heading in sheet.headings if heading):
            raise DataError(
                f"{file}: the first line names a picture; put a line with the headings path,label "
                "above it"
            )
        raise DataError(
            f"{file}: wanted the columns path,label in the first line, got {sheet.shown}"
        )
    return at, columns


def parts_of(sheet: Sheet, columns: Columns, rows: Sequence[tuple[int, list[str]]]) -> list[str]:
    """The part of each row, empty where there are none. Raises ``DataError`` for another word."""
    if columns.part is not None:
        parts = []
        for line, cells in rows:
            word = part_in_name(cells[columns.part])
            if cells[columns.part] and not word.is_exact:
                raise DataError(
                    f"{sheet.file}, line {line}: part {cells[columns.part]!r}; there are "
                    f"{', '.join(dict.fromkeys(PART_NAMES.values()))}"
                )
            parts.append(word.part)
        if len({bool(part) for part in parts}) > 1:
            raise DataError(
                f"{sheet.file}: some pictures have a part and others none; give all one, or none"
            )
        return parts
    parts = [TRAIN if columns.flags else ""] * len(rows)
    for at, part in columns.flags.items():
        for number, (line, cells) in enumerate(rows):
            flag = cells[at].lower()
            if flag not in _YES | _NO:
                raise DataError(
                    f"{sheet.file}, line {line}: wanted True or False as {sheet.headings[at]}, "
                    f"got {cells[at]!r}"
                )
            if flag in _YES:
                parts[number] = part
    return parts


def groups_of(columns: Columns, rows: Sequence[tuple[int, list[str]]]) -> list[str]:
    """The group of each row, empty where it has none."""
    return ["" if columns.group is None else cells[columns.group] for _, cells in rows]


def grouped(sheet: Sheet, columns: Columns) -> list[str]:
    """A note of the column that groups pictures, where its heading leaves room for doubt."""
    if columns.group is None or heading_key(sheet.headings[columns.group]) not in ORIGINS:
        return []
    name = sheet.headings[columns.group]
    return [f"{sheet.file.name}: pictures of one {name} stay on one side of the split"]


def unused(sheet: Sheet, used: set[int]) -> list[str]:
    """A note of the columns that mean nothing here."""
    names = [name or "(no heading)" for at, name in enumerate(sheet.headings) if at not in used]
    if not names:
        return []
    first = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return [
        f"{sheet.file.name}: {counted(len(names), 'column')} not used: {first}. (A column group "
        "keeps pictures on one side of the split)"
    ]


def _split_groups(found: Sequence[Found]) -> list[str]:
    parts = defaultdict[str, set[str]](set)
    for one in found:
        if one.group:
            parts[one.group].add(one.part)
    split = sorted(group for group, those in parts.items() if len(those) > 1)
    if not split:
        return []
    return [
        f"{counted(len(split), 'group')} in two parts, such as {split[0]}, so a test will look "
        "too good"
    ]


# Paths


def _names(file: Path, paths: list[tuple[int, str]], allow_outside: bool) -> list[str]:
    """Each path from the CSV's folder on, with slashes."""
    root = file.parent
    real, inside = os.path.realpath(root), dict[str, bool]()
    absent, names = [], []
    for line, path in paths:
        if not _is_file(root, path) and "\\" in path:
            path = path.replace("\\", "/")  # written by Windows
        if not _is_file(root, path):
            absent.append((line, path))
            continue
        name = _name(root, path)
        if not allow_outside and not _leads_inside(real, root / name, inside):
            raise DataError(
                f"{file}, line {line}: {path} leads out of the folder of the CSV. Such files are "
                "taken with --allow-outside (in Python allow_outside=True)"
            )
        names.append(PurePath(name).as_posix())
    if absent:
        line, path = absent[0]
        more = f", nor {counted(len(absent) - 1, 'other')}" if len(absent) > 1 else ""
        raise DataError(f"{file}, line {line}: there is no file {root / path}{more}")
    return names


def _name(root: Path, path: str) -> str:
    """One name for one file: ``./a.png`` is ``a.png``."""
    name = os.path.normpath(path)
    if Path(name).is_absolute():
        return os.path.relpath(name, root.absolute())
    # After a link to a folder, ".." is not where it was.
    same = ".." not in path or (_is_file(root, name) and (root / name).samefile(root / path))
    return name if same else path


def _is_file(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except ValueError:  # a null character
        return False


def _leads_inside(root: str, path: Path, known: dict[str, bool]) -> bool:
    """Whether a file lies below ``root``, links followed; ``known`` keeps what folders do."""
    folder, _ = os.path.split(path)
    if folder not in known:
        known[folder] = _is_below(root, os.path.realpath(folder))
    if path.is_symlink():
        return _is_below(root, os.path.realpath(path))
    return known[folder]


def _is_below(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
