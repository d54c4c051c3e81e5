"""A CSV that names picture files and their classes."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from firstlight.checked import BETWEEN
from firstlight.data.archive import is_archive, list_archive
from firstlight.data.archive_address import is_archive_address, list_archive_at
from firstlight.data.columns import (
    class_columns,
    columns_of,
    grouped,
    groups_of,
    labels_in,
    parts_of,
    path_column,
    unused,
)
from firstlight.data.folder import list_folder
from firstlight.data.hub.sets import hub_folder, hub_set
from firstlight.data.listing import Found, Listing, class_name, counted, listing_of
from firstlight.data.missing import is_missing, refuse_missing
from firstlight.data.named_files import FilesBeside
from firstlight.data.several_labels import list_like, refuse_empty, split_known, split_labels
from firstlight.data.shards.files import names_shards
from firstlight.data.shards.load import listed_at
from firstlight.data.sheet import Sheet, read_sheet
from firstlight.data.split import TRAIN, part_in_name
from firstlight.errors import DataError


def list_pictures(
    path: Path, *, allow_outside: bool = False, least: int = 2, known: Collection[str] = ()
) -> Listing:
    """List the pictures of a path: with ``list_folder`` for a folder, here or on the hub, with
    ``list_archive`` for an archive, here or at an address, the images of shards, and with
    ``list_csv`` for any other file."""
    if is_archive_address(path):
        return list_archive_at(path, least=least)
    if (folder := hub_folder(path)) is not None:
        found = hub_set(path)
        listing = list_folder(folder, least=least)
        return replace(listing, notes=(*found.notes, *listing.notes), origin=found.origin)
    if names_shards(path):
        return listed_at(path)
    if not path.is_file():
        try:
            return list_folder(path, least=least)
        except DataError as error:
            raise DataError(f"{error}{_or_table(path)}") from error
    if is_archive(path):
        return list_archive(path, least=least)
    return list_csv(path, allow_outside=allow_outside, least=least, known=known)


def _or_table(folder: Path) -> str:
    """Return a hint for a folder without classes that has a CSV of paths."""
    try:
        tables = sorted(one for one in folder.iterdir() if one.suffix.lower() == ".csv")
    except OSError:
        return ""
    for file in sorted(tables, key=lambda one: part_in_name(one.stem).part != TRAIN)[:20]:
        with suppress(DataError):
            sheet, beside = read_sheet(file), FilesBeside(file)
            at, columns = path_column(sheet, columns_of(sheet), beside.nearness)
            if at is not None and columns.label is not None:
                return (
                    f". It contains {file.name}, which names pictures and classes: train on {file}"
                )
    return ""


def list_csv(
    file: Path, *, allow_outside: bool = False, least: int = 2, known: Collection[str] = ()
) -> Listing:
    """List the pictures of a CSV with a column for the path, relative to the CSV's folder, and one
    for the class. It may have columns for the part (``part``, ``is_valid``) and for the group that
    stays together.

    Paths outside the CSV's folder are accepted only with ``allow_outside``. To measure a network
    that gives several labels, ``known`` are its labels: a picture then has any number of labels,
    also if none has two, and a column of zeros is a label that no picture has. Raises
    ``DataError``, which names the line.
    """
    sheet = read_sheet(file)
    beside = FilesBeside(file)
    at, columns = path_column(sheet, columns_of(sheet), beside.nearness, known)
    taken = columns.used if at is None else {at, *columns.used}
    classes = [] if columns.label is not None else class_columns(sheet, taken, known)
    if at is None or (columns.label is None and not classes):
        raise DataError(_no_columns(sheet))
    rows = list(sheet.rows())
    if not rows:
        raise DataError(f"{file}: has headings but no rows")
    for line, cells in rows:
        if not cells[at]:
            raise DataError(f"{file}, line {line}: wanted a path and a label")
    labels, several = _labels(sheet, columns.label, classes, rows, known)
    names, told = beside.names([(line, cells[at]) for line, cells in rows], allow_outside)
    parts = parts_of(sheet, columns, rows)
    groups = groups_of(columns, rows)
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{file}: {twice[0]} is listed more than once")
    found = [
        Found(
            part,
            class_name(label),
            name,
            group,
            None if several is None else tuple(map(class_name, several[at])),
        )
        for at, (part, label, name, group) in enumerate(
            zip(parts, labels, names, groups, strict=True)
        )
    ]
    if len(kinds := {name for one in found for name in one.names}) == 1 < least:
        raise DataError(
            f"{file}: wanted at least two classes to tell apart, got one class, {kinds.pop()!r}"
        )
    notes = [f"{file.name}: {note}" for note in sheet.notes]
    if several is not None:
        notes.append(_several(file, classes, several))
    elif classes:
        notes.append(f"{file.name}: the class is the column, of {len(classes)}, that holds a 1")
    elif lists := list_like(labels):
        notes.append(
            f"{file.name}: each cell is the name of one class, also {lists[0][:60]!r}. If it is a "
            "list of labels, give each label a column of 0 and 1"
        )
    notes += [*told, *grouped(sheet, columns), *unused(sheet, {*taken, *classes})]
    notes += _split_groups(found)
    named = [class_name(sheet.headings[column]) for column in classes] if known else []
    return listing_of(file.parent, found, notes, least, named)


def _labels(
    sheet: Sheet,
    label: int | None,
    classes: Sequence[int],
    rows: Sequence[tuple[int, list[str]]],
    known: Collection[str],
) -> tuple[list[str], list[tuple[str, ...]] | None]:
    """Return the text of each row's label, and, if there may be several, the labels."""
    several: list[tuple[str, ...]] | None
    file = str(sheet.file)
    if label is None:
        several = labels_in(sheet, classes, rows, several=bool(known))
        labels = [BETWEEN.join(some) for some in several]
        if not known and all(len(some) == 1 for some in several):
            several = None
    else:
        lines = [line for line, _ in rows]
        labels = [class_name(cells[label]) for _, cells in rows]
        present = [one for one in labels if not is_missing(one)]
        several = split_known(present, known) if known else split_labels(present)
        none = "For a picture without labels write []" if several is not None else ""
        refuse_missing(file, labels, "line", lines, none)
        if several is None:
            refuse_empty(file, labels, "line", lines)
    _check_labels(sheet, [] if known else classes, several)
    if several is not None and not any(several):
        raise DataError(
            f"{file}: wanted pictures with labels, got {counted(len(rows), 'picture')} without "
            "any, so there is nothing to find"
        )
    return labels, several


def _check_labels(
    sheet: Sheet, classes: Sequence[int], several: list[tuple[str, ...]] | None
) -> None:
    """Raise ``DataError`` for a column without any 1, and for a label that could be mistaken for
    two."""
    if several is None:
        return
    there = {name for some in several for name in some}
    for heading in (sheet.headings[at] for at in classes):
        if heading not in there:
            raise DataError(f"{sheet.file}: no picture has a 1 in the column {heading}. Remove it")
    strange = next((name for name in there if BETWEEN in name), None)
    if strange is not None:
        raise DataError(
            f"{sheet.file}: the label {strange[:60]!r} contains {BETWEEN!r}, which separates "
            "labels. Rename it"
        )


def _several(file: Path, classes: Sequence[int], several: list[tuple[str, ...]]) -> str:
    """Return a note about how many labels pictures have and where they were found."""
    counts = [len(some) for some in several]
    where = (
        f"{counted(len(classes), 'column')} of 0 and 1, a label each"
        if classes
        else "lists of labels"
    )
    without = f"; {counted(counts.count(0), 'picture')} without any" if 0 in counts else ""
    return (
        f"{file.name}: {where}: pictures have {min(counts)} to {max(counts)} of "
        f"{len({name for some in several for name in some})} labels, on average "
        f"{sum(counts) / len(counts):.1f}{without}"
    )


def _no_columns(sheet: Sheet) -> str:
    file = sheet.file
    if any((file.parent / heading).is_file() for heading in sheet.headings if _is_name(heading)):
        return (
            f"{file}: the first line names a picture. Add a line with the headings path,label "
            "above it"
        )
    return f"{file}: wanted the columns path,label in the first line, got {sheet.shown}"


def _is_name(heading: str) -> bool:
    return bool(heading) and "\0" not in heading


def _split_groups(found: Sequence[Found]) -> list[str]:
    parts = defaultdict[str, set[str]](set)
    for one in found:
        if one.group:
            parts[one.group].add(one.part)
    split = sorted(group for group, those in parts.items() if len(those) > 1)
    if not split:
        return []
    return [
        f"{counted(len(split), 'group')} in two parts, such as {split[0]}, so the test will look "
        "too good"
    ]
