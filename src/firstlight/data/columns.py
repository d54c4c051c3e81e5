"""What the columns of a CSV mean, by their headings: file, class, part and group of a picture."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from firstlight.data.listing import counted
from firstlight.data.sheet import Sheet, heading_key
from firstlight.data.split import PART_NAMES, TEST, TRAIN, VALIDATION, part_in_name
from firstlight.errors import DataError

# Headings without case, spaces and punctuation, the likeliest first. The very first is taken
# without a comparison with the others, and messages ask for it.
PATHS = (
    *("path", "filepath", "imagepath", "imgpath", "picturepath", "filename", "file", "imagename"),
    *("imagefile", "imagefilename", "image", "img", "picture", "photo", "imageid"),
    *("imgname", "imgfile", "imgfilename", "picturename", "picturefile", "photoname", "fname"),
    *("paths", "filepaths", "filenames", "files", "images", "imgid", "pictureid", "photoid"),
    *("fileid", "idcode", "id"),
)
LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "category", "target", "y"),
    *("labelname", "categoryname", "targetname", "classes", "categories", "targets"),
    *("groundtruth", "truth", "annotation", "tag", "tags", "gt"),
    *("classid", "labelid", "categoryid", "targetid"),
)
_SUBJECTS = ("diagnosis", "dx", "species", "breed")
"""Headings of classes in well-known sets, used if no other heading names the class."""
_PARTS = ("part", "split", "set", "subset", "dataset", "partition")
_SURE_PARTS = ("part", "split")
_FLAGS = {"isvalid": VALIDATION, "isvalidation": VALIDATION, "isval": VALIDATION, "istest": TEST}
_YES, _NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0"}
_GROUPS = (
    *("group", "groupid", "patient", "patientid", "subject", "subjectid"),
    *("participant", "participantid"),
)
ORIGINS = ("source", "sourceid", "slide", "slideid", "writer", "writerid", "site", "siteid")
"""Columns that also group pictures, if each class has enough groups to split by."""
_LEAST_ORIGINS = 5


class Columns(NamedTuple):
    """The number of each column of a CSV that is used."""

    label: int | None
    part: int | None
    flags: dict[int, str]
    """Without ``part``: columns of yes or no, and the part that a yes selects."""
    group: int | None

    @property
    def used(self) -> set[int]:
        """The numbers of all these columns."""
        single = {self.label, self.part, self.group} - {None}
        return {*self.flags, *(number for number in single if number is not None)}


def columns_of(sheet: Sheet) -> Columns:
    """Find the columns for class, part and group by their headings. Raises ``DataError`` if two
    columns could be the class and disagree."""
    part = sheet.column(_PARTS)
    if part is not None and heading_key(sheet.headings[part]) not in _SURE_PARTS:
        words = {cells[part] for _, cells in sheet.rows()} - {""}
        part = part if all(part_in_name(word).is_exact for word in words) else None
    flags = {
        at: _FLAGS[key]
        for at, heading in enumerate(sheet.headings)
        if part is None and (key := heading_key(heading)) in _FLAGS
    }
    label, group = _label(sheet), sheet.column(_GROUPS)
    return Columns(label, part, flags, _origin(sheet, label) if group is None else group)


def _label(sheet: Sheet) -> int | None:
    """Return the column with the class."""
    found = _called(sheet, LABELS) or _called(sheet, _SUBJECTS)
    if len(found) < 2 or _is_sure(sheet, found, LABELS[0]):
        return found[0] if found else None
    first = found[0]
    for other in found[1:]:
        pairs = {(cells[first], cells[other]) for _, cells in sheet.rows()}
        if min(len({one for one, _ in pairs}), len({two for _, two in pairs})) < len(pairs):
            names = " and ".join(sheet.headings[at] for at in (first, other))
            raise DataError(
                f"{sheet.file}: the columns {names} could each be the class, and they disagree. "
                "Rename the right one to label"
            )
    return first


def _called(sheet: Sheet, words: Sequence[str]) -> list[int]:
    """Return the columns with these headings, in the order of the words."""
    keys = [heading_key(heading) for heading in sheet.headings]
    return [at for word in words for at, key in enumerate(keys) if key == word]


def _is_sure(sheet: Sheet, found: Sequence[int], word: str) -> bool:
    """Return whether the first of these columns, and no other, is named exactly ``word``."""
    return [heading_key(sheet.headings[at]) == word for at in found[:2]] in ([True], [True, False])


def _origin(sheet: Sheet, label: int | None) -> int | None:
    """Return the column that says where a picture is from. Return None if a class has too few
    origins: keeping them together would leave that class out of the test part."""
    at = sheet.column(ORIGINS)
    if at is None or label is None:
        return None
    origins = defaultdict[str, set[str]](set)
    for line, cells in sheet.rows():
        origins[cells[label]].add(cells[at] or f"line {line}")
    return at if min(map(len, origins.values()), default=0) >= _LEAST_ORIGINS else None


# The column with the files


def path_column(
    sheet: Sheet,
    columns: Columns,
    nearness: Callable[[str], int],
    known: Collection[str] = (),
) -> tuple[int | None, Columns]:
    """The column with the paths, if there is one, and the others. Of two columns that are left,
    what one is not, the other is. ``nearness`` says how nearly a cell names a file, 0 where it
    names none. ``known`` is as for ``class_columns``.

    Raises ``DataError`` where two columns name files, and not the same.
    """
    at = _paths(sheet, columns, nearness)
    left = set(range(len(sheet.headings))) - columns.used - {at}
    if at is not None and columns.label is None and len(left) == 1:
        (other,) = left
        columns = columns if sheet.headings[other] in known else columns._replace(label=other)
    elif at is None and columns.label is not None and len(left) == 1:
        at = left.pop()
    return at, columns


def _paths(sheet: Sheet, columns: Columns, nearness: Callable[[str], int]) -> int | None:
    found = [at for at in _called(sheet, PATHS) if at not in columns.used]
    if found and _is_sure(sheet, found, PATHS[0]):
        return found[0]
    first = next(sheet.rows(), None)
    if first is None or len(found) == 1:
        return found[0] if found else None
    asked = found
    if not found and not any(map(nearness, filter(None, sheet.headings))):
        asked = [at for at in range(len(sheet.headings)) if at not in columns.used]
    near = {at: nearness(first[1][at]) if first[1][at] else 0 for at in asked}
    nearest = max(near.values(), default=0)
    names_files = [at for at in asked if nearest and near[at] == nearest]
    same = {tuple(cells[at] for _, cells in sheet.rows()) for at in names_files}
    if len(same) > 1:
        names = " and ".join(sheet.headings[at] or "(no heading)" for at in names_files[:2])
        raise DataError(
            f"{sheet.file}: the columns {names} each name files, and they disagree. Rename the "
            "right one to path"
        )
    return next(iter(names_files or found), None)


# Classes as columns of 0 and 1


def class_columns(sheet: Sheet, taken: set[int], known: Collection[str] = ()) -> list[int]:
    """The columns that hold nothing but yes and no, where there are several: a class each. A single
    one is enough if it is called like one of the ``known`` labels, of which a picture may have
    several."""
    rows = [cells for _, cells in sheet.rows()]
    others = (at for at in range(len(sheet.headings)) if at not in taken and sheet.headings[at])
    found = [at for at in others if all(cells[at].lower() in _YES | _NO for cells in rows)]
    enough = len(found) > 1 or any(sheet.headings[at] in known for at in found)
    return found if rows and enough else []


def labels_in(
    sheet: Sheet,
    classes: Sequence[int],
    rows: Sequence[tuple[int, list[str]]],
    *,
    several: bool = False,
) -> list[tuple[str, ...]]:
    """The labels of each row: the headings of the columns with a yes.

    Unless it is known that pictures may have ``several``, raises ``DataError`` where no row has two
    and some have none: that may be one class for each picture, with a mistake.
    """
    labels = [
        tuple(sheet.headings[at] for at in classes if cells[at].lower() in _YES)
        for _, cells in rows
    ]
    counts = [len(some) for some in labels]
    if not several and max(counts) == 1 and 0 in counts:
        names = ", ".join(sheet.headings[at] for at in classes[:5])
        raise DataError(
            f"{sheet.file}, line {rows[counts.index(0)][0]}: no column is called label; no 1 in "
            f"the columns of 0 and 1 ({names}{', …' if len(classes) > 5 else ''}), and one in "
            "most rows. Give each picture its class. If some are of none of them, add a column for "
            "those, such as other"
        )
    return labels


# Part and group


def parts_of(sheet: Sheet, columns: Columns, rows: Sequence[tuple[int, list[str]]]) -> list[str]:
    """The part of each row, empty where there are none. Raises ``DataError`` for another word."""
    if columns.part is not None:
        parts = []
        for line, cells in rows:
            word = part_in_name(cells[columns.part])
            if cells[columns.part] and not word.is_exact:
                raise DataError(
                    f"{sheet.file}, line {line}: part {cells[columns.part]!r}; choose from "
                    f"{', '.join(dict.fromkeys(PART_NAMES.values()))}"
                )
            parts.append(word.part)
        if len({bool(part) for part in parts}) > 1:
            raise DataError(
                f"{sheet.file}: some pictures have a part and others do not. Give every picture "
                "a part, or none"
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
