"""The meaning of the labels in shards: one kind for all, and the class names."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firstlight.checked import class_names
from firstlight.data.listing import class_name
from firstlight.data.several_labels import refuse_several
from firstlight.data.shards.files import (
    MOST_NAMES_BYTES,
    ShardFiles,
    is_address,
    opened,
    unreachable,
)
from firstlight.data.shards.index import NO_LABEL, ShardIndex, sortable
from firstlight.errors import DataError

Int64Array = npt.NDArray[np.int64]
_LISTS = ("class_names", "classes", "names")


def labels_of(
    found: ShardFiles, indexes: Sequence[ShardIndex]
) -> tuple[tuple[str, ...], list[Int64Array]]:
    """Return the class names, and for each shard the class of each image or ``NO_LABEL``.

    The names come from a file next to the shards, from the shards, or are the sorted labels.
    Spaces at both ends are ignored when labels that are names are compared. Raises ``DataError``
    for labels of two kinds, and for a label without a name.
    """
    kinds = dict[type, str]()
    for file, index in zip(found.files, indexes, strict=True):
        for value in index.values[:1]:
            kinds.setdefault(type(value), file.short)
    if len(kinds) > 1:
        raise DataError(
            f"{found.word}: labels are numbers in {kinds[int]} and names in {kinds[str]}; wanted "
            "one kind"
        )
    given = _names_beside(found.names_file) or _names_inside(found, indexes)
    values = sorted({value for index in indexes for value in index.values}, key=sortable)
    numbers = int in kinds
    if not numbers and not given:
        refuse_several(found.word, [str(value) for value in values])
    if numbers and given:
        place = dict[int | str, int](zip(range(len(given)), range(len(given)), strict=True))
        names = given
    else:
        names = given or tuple(map(str, values))
        labelled = [class_name(name.strip()) for name in given]
        if len(set(labelled)) < len(labelled):
            raise DataError(
                f"{found.names_file or found.word}: has class names that differ only by spaces "
                "at their ends, so labels given as names are ambiguous. Use numbers as labels"
            )
        place = dict(zip(labelled or values, range(len(names)), strict=True))
    labels = []
    for file, index in zip(found.files, indexes, strict=True):
        strange = [value for value in index.values if value not in place]
        if strange:
            raise DataError(
                f"{file.name}: the label {strange[0]!r} is not one of the {len(names):,} "
                f"classes{f' of {found.names_file}' if found.names_file else ''}"
            )
        of_value = np.array([*(place[value] for value in index.values), NO_LABEL], np.int64)
        labels.append(of_value[index.labels_N])
    return names, labels


def _names_inside(found: ShardFiles, indexes: Sequence[ShardIndex]) -> tuple[str, ...]:
    names = indexes[0].class_names
    for file, index in zip(found.files, indexes, strict=True):
        if index.class_names != names:
            raise DataError(
                f"{file.name}: its class names differ from those of {found.files[0].short}; "
                "wanted the same in all of them"
            )
    return names


def _names_beside(place: str) -> tuple[str, ...]:
    if not place:
        return ()
    try:
        text = _read(place).decode("utf-8-sig")
        if place.endswith(".json"):
            told = json.loads(text)
            if isinstance(told, dict):
                told = next((told[key] for key in _LISTS if key in told), None)
            return class_names(told, place)  # unchanged, spaces included
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: cannot be read as class names: {error}") from error
    names = [class_name(line.strip()) for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not all(names):
        raise DataError(
            f"{place}: wanted the name of one class in each line, but line {names.index('') + 1} "
            "is empty"
        )
    return class_names(names, place)


def _read(place: str) -> bytes:
    if not is_address(place):
        try:
            with Path(place).open("rb") as file:
                content = file.read(MOST_NAMES_BYTES + 1)
        except OSError as error:
            raise DataError(f"{place}: cannot be read: {error.strerror}") from error
    else:
        fs, path = opened(place)
        try:
            with fs.open(path, "rb") as file:
                content = file.read(MOST_NAMES_BYTES + 1)
        except Exception as error:  # each store has errors of its own
            raise unreachable(place, error) from error
    if len(content) > MOST_NAMES_BYTES:
        raise DataError(f"{place}: too long for a file of class names")
    return content
