"""Recognize texts that are lists of labels, for pictures with several labels, or refuse them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.checked import BETWEEN
from firstlight.errors import DataError

SIGNS = (";", "|", ",")
"""The separators between the labels of one picture."""
_AROUND = " \t[](){}'\""
ONE_EACH = (
    "Pictures with several labels are read from a CSV (labels such as cat;dog, or columns of 0 and "
    "1) and from arrays (a matrix of 0 and 1). Otherwise wanted one class for each: keep one, or "
    "join them into one name, as in cat-and-dog"
)


def split_labels(labels: Sequence[str]) -> list[tuple[str, ...]] | None:
    """Return the labels in each text if some of the texts are lists of labels; else None.

    Texts are lists if all items of one also occur alone, or if one item occurs at several places in
    such lists. An empty list, ``[]``, has no labels.
    """
    distinct = set(labels)
    for sign in SIGNS:
        if _lists(distinct, sign):
            return [_pieces(label.split(sign)) for label in labels]
    if _words(distinct):
        return [_pieces(label.split()) for label in labels]
    return None


def split_known(labels: Sequence[str], known: Collection[str]) -> list[tuple[str, ...]]:
    """Return the labels in each text, for a network that gives several and has those ``known``.

    The first separator that sets a known label apart in any text separates all of them, also where
    ``split_labels`` could not tell lists from names. A known name is not split.
    """
    names = set(known)
    whole = {one for one in labels if one.strip(_AROUND) in names}
    for sign in (*SIGNS, None):  # None: spaces
        lists = {one: _pieces(one.split(sign)) for one in set(labels) - whole}
        sure = sign == BETWEEN  # which no name contains
        if any(len(some) > 1 and (sure or names & {*some}) for some in lists.values()):
            return [lists.get(one) or _pieces([one]) for one in labels]
    return split_labels(labels) or [_pieces([one]) for one in labels]


def _pieces(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (part.strip(_AROUND) for part in parts))))


def refuse_several(
    name: str, labels: Sequence[str], unit: str = "label", numbers: Sequence[int] = ()
) -> None:
    """Raise ``DataError`` if labels are lists of labels, such as ``cat;dog``.

    ``split_labels`` says when they are. The message begins with ``name``; ``unit`` and ``numbers``
    are as for ``refuse_missing``.
    """
    distinct = set(labels)
    lists = next(filter(None, (_lists(distinct, sign) for sign in SIGNS)), None) or _words(distinct)
    if not lists:
        return
    at = [i for i, label in enumerate(labels) if label in lists]
    first = numbers[at[0]] if numbers else at[0]
    raise DataError(
        f"{name}: {len(at):,} of {len(labels):,} labels name several classes at once, such as "
        f"{labels[at[0]][:60]!r} ({unit} {first}). {ONE_EACH}"
    )


def refuse_empty(
    name: str,
    labels: Sequence[object] | npt.NDArray[Any],
    unit: str = "label",
    numbers: Sequence[int] = (),
) -> None:
    """Raise ``DataError`` for an empty list, such as ``[]``, where each label is one class.

    ``name``, ``unit`` and ``numbers`` are as for ``refuse_missing``.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biuf":
        return
    at = [
        i for i, one in enumerate(labels) if isinstance(one, str) and one and not one.strip(_AROUND)
    ]
    if at:
        raise DataError(
            f"{name}: {len(at):,} of {len(labels):,} labels are empty lists, such as "
            f"{str(labels[at[0]])!r} ({unit} {numbers[at[0]] if numbers else at[0]}), but no "
            "picture has two labels, so each is of one class. If these pictures show none of the "
            "classes, give them a class of their own, such as other"
        )


def list_like(labels: Sequence[str]) -> list[str]:
    """Those of the classes' names that have a sign between words which names rarely have."""
    return sorted({one for one in labels if any(sign in one for sign in SIGNS[:2])})


def refuse_rows(name: str, labels: npt.NDArray[Any]) -> None:
    """Raise ``DataError`` unless each row of the labels N×K has one 1 and otherwise 0. A single row
    is one label for each picture, as MATLAB writes them."""
    if labels.ndim != 2 or 1 in labels.shape:
        return
    if labels.dtype.kind in "biuf":
        if not bool(np.isin(labels, (0, 1)).all()) or bool((labels.sum(axis=1) == 1).all()):
            return
        at = int(np.argmax(labels.sum(axis=1) != 1))
        row = f"row {at} has {int(labels[at].sum())} ones"
    else:
        row = f"row 0 has {labels.shape[1]}"
    raise DataError(f"{name}: got rows of labels, of which {row}. {ONE_EACH}")


def _lists(labels: set[str], sign: str) -> set[str]:
    """Return the labels that are lists with this separator."""
    pieces = {one: [p.strip(_AROUND) for p in one.split(sign)] for one in labels if sign in one}
    pieces = {one: parts for one, parts in pieces.items() if all(parts)}
    alone = {one.strip(_AROUND) for one in labels if sign not in one}
    places = defaultdict[str, set[int]](set)
    for parts in pieces.values():
        for at, part in enumerate(parts):
            places[part].add(at)
    moving = {part for part, found in places.items() if len(found) > 1}
    if any(alone.issuperset(parts) for parts in pieces.values()):
        return set(pieces)
    return set(pieces) if moving else set()


def _words(labels: set[str]) -> set[str]:
    """Return the labels that are lists with spaces as separators; only if every label with a space
    is such a list, without repeats."""
    lists = {one for one in labels if len(one.split()) > 1}
    alone = labels - lists
    if len(lists) < 2 or not all(alone.issuperset(one.split()) for one in lists):
        return set()
    return lists if all(len(set(one.split())) > 1 for one in lists) else set()
