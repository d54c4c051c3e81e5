"""Several labels per image in memory: a matrix of 0 and 1, lists of names or of class numbers, or
texts such as ``cat;dog``. Axes: N images, K classes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.checked import BETWEEN
from firstlight.data.listing import class_name
from firstlight.data.missing import is_missing
from firstlight.data.several_labels import split_known, split_labels
from firstlight.errors import DataError

BoolArray = npt.NDArray[np.bool_]
Rows = list[tuple[Any, ...]]


def matrix_in(labels: Any, least: int = 2) -> BoolArray | None:
    """Return bool N×K if labels are rows of 0 and 1 and some row has at least ``least`` ones;
    otherwise None. Rows with at most one are one-hot, or wrong, unless images may have several
    labels anyway."""
    if isinstance(labels, list | tuple) and not all(
        isinstance(one, list | tuple) for one in labels
    ):
        return None
    try:
        found = np.asarray(labels)
    except ValueError:  # lists of different lengths
        return None
    # A single row is one label for each image, as MATLAB writes them.
    single = found.ndim == 2 and (found.shape[1] == 1 or (len(found) == 1 and least > 0))
    if found.ndim != 2 or single or found.dtype.kind not in "biuf":
        return None
    if not bool(np.isin(found, (0, 1)).all()) or found.sum(axis=1).max() < least:
        return None
    return found.astype(bool)


def rows_in(labels: Any, known: Sequence[str] = ()) -> Rows | None:
    """Return the labels of each image if they are lists, or texts that are lists; otherwise None.
    Lists of 0 and 1 with the same length are rows of a matrix. With ``known`` labels, all texts are
    lists (``split_known``)."""
    if isinstance(labels, np.ndarray) and (labels.ndim != 1 or labels.dtype.kind not in "OUS"):
        return None
    if not isinstance(labels, Iterable) or isinstance(labels, str | bytes):
        return None
    every = [one.tolist() if isinstance(one, np.ndarray) else one for one in labels]
    if every and all(isinstance(one, list | tuple | set | frozenset) for one in every):
        found = [tuple(dict.fromkeys(one)) for one in every]
        single = not known and all(len(one) == 1 for one in found)
        return None if single or _are_binary(every) else found
    if not every or not all(isinstance(one, str) for one in every) or any(map(is_missing, every)):
        return None
    texts = split_known(every, known) if known else split_labels(every)
    return None if texts is None else [*texts]


def _are_binary(rows: Sequence[Any]) -> bool:
    lengths, values = {len(row) for row in rows}, {one for row in rows for one in row}
    return len(lengths) == 1 and lengths.pop() > 1 and all(one in (0, 1) for one in values)


def numbered_rows(
    parts: Sequence[BoolArray | Rows], class_names: Sequence[str] | None, name: str
) -> tuple[BoolArray, tuple[str, ...]]:
    """Return bool N×K of all parts together, and the class names. Raises ``DataError``."""
    if all(isinstance(one, np.ndarray) for one in parts):
        widths = {one.shape[1] for one in parts if isinstance(one, np.ndarray)}
        if len(widths) > 1 or (class_names is not None and widths != {len(class_names)}):
            wanted = sorted(widths)[-1] if class_names is None else len(class_names)
            raise DataError(
                f"{name}: wanted {wanted} columns of labels, one for each class, got "
                f"{' and '.join(map(str, sorted(widths)))}"
            )
        names = class_names or [str(k) for k in range(widths.pop())]
        return _named(np.concatenate([*map(np.asarray, parts)]), names, name)
    rows: Rows = [row for part in parts for row in (part if isinstance(part, list) else ())]
    if sum(map(len, parts)) != len(rows):
        raise DataError(f"{name}: wanted labels of one kind, got a matrix and lists")
    strange = next((one for row in rows for one in row if not _is_label(one)), None)
    kinds = {isinstance(one, str) for row in rows for one in row}
    if strange is not None or len(kinds) > 1:
        raise DataError(
            f"{name}: wanted lists of labels that are all names, or all whole numbers, got "
            f"{'both' if strange is None else strange!r:.60}"
        )
    if class_names is None:
        found = sorted({one for row in rows for one in row})
        place = {one: at for at, one in enumerate(found)}
        names = [class_name(str(one)) for one in found]
    else:
        numbers = kinds == {False}
        names = [*map(str, class_names)]
        place = {one: at for at, one in enumerate(range(len(names)) if numbers else names)}
    labels_NK = np.zeros((len(rows), len(names)), dtype=bool)
    for at, row in enumerate(rows):
        for one in row:
            if one not in place:
                raise DataError(f"{name}: the label {one!r:.60} is not one of the class names")
            labels_NK[at, place[one]] = True
    return _named(labels_NK, names, name)


def _is_label(one: Any) -> bool:
    whole = isinstance(one, int | np.integer) and not isinstance(one, bool)
    return whole or (isinstance(one, str) and not is_missing(one))


def _named(
    labels_NK: BoolArray, names: Sequence[str], name: str
) -> tuple[BoolArray, tuple[str, ...]]:
    """Return the same, if no name contains what separates joined names."""
    strange = next((one for one in names if BETWEEN in one), None)
    if strange is not None:
        raise DataError(
            f"{name}: the label {strange[:60]!r} contains {BETWEEN!r}, which separates labels. "
            "Rename it"
        )
    return labels_NK, tuple(names)
