"""Convert data sets of other libraries: Hugging Face's ``datasets``, PyTorch's map-style data sets,
and plain rows.

Neither library is imported; objects are recognized by their attributes. Axes: N images, H height,
W width, C channels.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firstlight.data.arrays import (
    ArrayForm,
    ArrayPart,
    PictureFile,
    as_array,
    dataset_of,
    labels_as_array,
    parted,
)
from firstlight.data.dataset import TrainTest
from firstlight.data.features import IMAGES, LABELS, picture_columns
from firstlight.data.levels import stated
from firstlight.data.listing import counted
from firstlight.data.missing import is_missing
from firstlight.data.split import PARTS, TEST, TRAIN, part_in_name
from firstlight.errors import DataError

_WANTED = (
    "wanted a datasets.Dataset or DatasetDict, a torch.utils.data.Dataset of (picture, label), or "
    "a sequence of dicts with a picture and a label"
)


class _Rows(NamedTuple):
    """The pictures of one part, and what is known about them."""

    images: Any
    labels: list[Any]
    class_names: tuple[str, ...] | None
    origin: str


def from_dataset(
    data: Any,
    *,
    test: Any = None,
    class_names: Sequence[str] | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002
    size: int | None = None,
    name: str = "dataset",
) -> TrainTest:
    """Make training and test images from a data set of another library.

    ``data`` is a ``datasets.Dataset``; a ``DatasetDict`` (or another mapping) with the parts
    ``train`` and perhaps ``validation`` and ``test``; a map-style ``torch.utils.data.Dataset`` that
    returns ``(picture, label)``; or a sequence of dicts with a picture and a label. A picture is
    Pillow's, an array H×W or H×W×C, a tensor C×H×W, the bytes of a picture file, or a dict with
    them as ``bytes``. ``test`` is the test part, of any of these types, if ``data`` is a single
    part. Without a test part, one is made as in ``from_images``, which also explains ``range`` and
    ``size``.

    Columns are found by their features, else by their names (``image``, ``label``). Class names
    come from ``class_names``, else from a ``ClassLabel`` or the attribute ``classes``. If a label
    is a list of names or numbers, or a row of 0 and 1, pictures have several labels. A part without
    labels is left out, with a note; ``notes`` also says where the data came from. Raises
    ``DataError`` for pictures without labels, and for other types.
    """
    if size is not None and not 8 <= size <= 512:
        raise DataError(f"{name}: size must be 8 to 512 pixels, not {size}")
    sets, notes = _sets(data, test, name)
    rows = {part: _rows(one, f"{name}/{part}" if part else name) for part, one in sets.items()}
    for part in [part for part in rows if _has_no_labels(rows[part]) and len(rows) > 1]:
        notes.append(f"{part}: has no labels, left out")
        del rows[part]
    if not any(part in ("", TRAIN) and not _has_no_labels(one) for part, one in rows.items()):
        raise DataError(f"{name}: the training pictures have no labels. Give each its class")
    names = class_names or _one_of([one.class_names for one in rows.values()], name)
    names, labels = _present(names, [one.labels for one in rows.values()], notes, name)
    parts = [
        ArrayPart(
            part=part,
            images=one.images,
            labels=those,
            images_name=f"{name}/{part}" if part else name,
            labels_name=f"{name}/{part}: labels" if part else f"{name}: labels",
        )
        for (part, one), those in zip(rows.items(), labels, strict=True)
    ]
    form = ArrayForm(class_names=names, range=stated(range, name), size=size)
    whole, part_of = dataset_of(parts, form, name)
    origins = [f"from {one.origin}" for one in rows.values()]
    told = (*origins, *whole.notes, *notes)
    whole = replace(whole, notes=told, warnings=(*whole.warnings, *notes))
    return parted(whole, part_of, name)


def _sets(data: Any, test: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the set of each part, in the order of the parts, and what was left out."""
    if not isinstance(data, Mapping):
        return ({"": data} if test is None else {TRAIN: data, TEST: test}), []
    if test is not None:
        raise DataError(f"{name}: wanted the parts in one mapping, or two sets; got both")
    found, left = dict[str, Any](), list[str]()
    for key, one in data.items():
        word = part_in_name(str(key))
        if not word.is_exact:
            left.append(str(key))
        elif word.part in found:
            raise DataError(f"{name}: {key} is the part {word.part} a second time. Leave one out")
        else:
            found[word.part] = one
    if len(data) == 1 and TRAIN not in found:
        return {"": next(iter(data.values()))}, []
    if TRAIN not in found:
        raise DataError(
            f"{name}: wanted a mapping with the parts train and perhaps validation and test, got "
            f"{', '.join(map(str, list(data)[:8])) or 'nothing'}. Pass one of them, as data[KEY]"
        )
    notes = [f"{', '.join(left)}: not train, validation or test; left out"] if left else []
    if len(found) == 1:
        return {"": found[TRAIN]}, notes
    return {part: found[part] for part in PARTS if part in found}, notes


def _rows(data: Any, where: str) -> _Rows:
    if hasattr(data, "features") and hasattr(data, "cast_column"):
        return _of_datasets(data, where)
    if isinstance(data, str | bytes | Path) or not (
        hasattr(data, "__getitem__") and hasattr(data, "__len__")
    ):
        hint = "; turn an iterable into a list first" if _is_stream(data) else ""
        raise DataError(f"{where}: {_WANTED}; got {type(data).__name__}{hint}")
    if isinstance(data, np.ndarray) or (isinstance(data, tuple) and len(data) == 2):
        raise DataError(f"{where}: {_WANTED}; for arrays use fl.from_images(images, labels)")
    if hasattr(data, "columns") and hasattr(data, "to_dict"):
        raise DataError(f'{where}: {_WANTED}; for a pandas table use .to_dict("records")')
    if not len(data):
        raise DataError(f"{where}: wanted pictures, got none")
    return _of_rows(data, where)


def _is_stream(data: Any) -> bool:
    return hasattr(data, "__iter__") and not isinstance(data, str | bytes | Path)


# Hugging Face's datasets


def _of_datasets(data: Any, where: str) -> _Rows:
    if not hasattr(data, "__len__"):
        raise DataError(
            f"{where}: this data set can only be streamed. Load it with streaming=False, or take "
            "part of it: datasets.Dataset.from_list(list(data.take(1000)))"
        )
    if not data.features:
        raise DataError(f"{where}: has no columns; {_WANTED}")
    features = data.features.to_dict()
    columns = picture_columns(tuple(data.features), features, where, lists=True)
    if columns.label is None:
        names = ", ".join(data.features)
        raise DataError(
            f"{where}: wanted a column label, got {names}. Rename the column of classes"
        )
    plain = data.with_format(None)
    labels = list(plain[columns.label])
    if columns.class_names:  # datasets writes -1 for no label
        labels = [None if label == -1 else label for label in labels]
    images: Any
    if features[columns.image].get("_type") == "Image":
        images = _files(plain, columns.image, where)
    else:
        images = _together([_picture(one, where) for one in plain[columns.image]])
    return _Rows(images, labels, columns.class_names or None, _told_of(data))


def _files(data: Any, column: str, where: str) -> list[PictureFile]:
    """Return each picture's file. It is decoded like other picture files, not by ``datasets``."""
    kind = sys.modules["datasets"].Image(decode=False)
    stored = data.select_columns([column]).cast_column(column, kind)

    def reader(row: int) -> Callable[[], bytes]:
        return lambda: _content(stored[row][column], f"{where}[{row}]")

    return [PictureFile(reader(row)) for row in range(len(stored))]


def _content(told: Any, where: str) -> bytes:
    content = told.get("bytes") if isinstance(told, dict) else None
    if content is None and isinstance(told, dict) and told.get("path"):
        try:
            return Path(told["path"]).read_bytes()
        except OSError as error:
            raise DataError(f"{where}: {told['path']}: {error.strerror}") from error
    if not isinstance(content, bytes):
        raise DataError(f"{where}: not a picture")
    return content


def _told_of(data: Any) -> str:
    """Say where a set came from, as far as it states that."""
    info = getattr(data, "info", None)
    parts = [str(one) for one in (getattr(info, "dataset_name", None),) if one]
    for what, value in (
        ("configuration", getattr(info, "config_name", None)),
        ("version", getattr(info, "version", None)),
        ("split", getattr(data, "split", None)),
        ("fingerprint", getattr(data, "_fingerprint", None)),
    ):
        if value is not None and str(value) != "default":
            parts.append(f"{what} {value}")
    return f"datasets: {', '.join([*parts, counted(len(data), 'row')])}"


# Rows of any other set


def _of_rows(data: Any, where: str) -> _Rows:
    keys: tuple[str, str] | None = None
    images, labels = list[Any](), list[Any]()
    for at, row in enumerate(_each(data)):
        if isinstance(row, Mapping):
            keys = keys or _keys(row, where)
            missing = next((key for key in keys if key not in row), None)
            if missing is not None:
                raise DataError(f"{where}[{at}]: has no {missing}, unlike the rows before it")
            image, label = row[keys[0]], row[keys[1]]
        elif isinstance(row, tuple | list) and len(row) == 2:
            image, label = row
        else:
            length = f" of {len(row)}" if isinstance(row, tuple | list) else ""
            raise DataError(
                f"{where}[{at}]: wanted (picture, label) or a dict, got "
                f"{type(row).__name__}{length}"
            )
        images.append(_picture(image, f"{where}[{at}]"))
        labels.append(_plain(label))
    _refuse_random(data, images, keys, where)
    kind = type(data)
    called = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    origin = f"{called}: {counted(len(images), 'row')}"
    return _Rows(_together(images), labels, _classes(data, labels), origin)


def _each(data: Any) -> Iterator[Any]:
    for at in range(len(data)):
        yield data[at]


def _keys(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Return the keys of the picture and the label in a row."""
    names = list(row)
    images = [one for one in IMAGES if one in row] or [
        one for one in names if _is_picture(row[one])
    ]
    labels = [one for one in LABELS if one in row]
    left = [one for one in names if one not in images]
    labels = labels or (left if len(left) == 1 else [])
    if not images or not labels or (len(images) > 1 and images[0] not in IMAGES):
        raise DataError(
            f"{where}: wanted dicts with a picture as image and its class as label, got "
            f"{', '.join(map(str, names[:8])) or 'nothing'}. Rename them"
        )
    return images[0], labels[0]


def _is_picture(value: Any) -> bool:
    from PIL import Image

    if isinstance(value, Image.Image | bytes):
        return True
    if isinstance(value, dict):
        return "bytes" in value
    return getattr(value, "ndim", 0) in (2, 3)


def _picture(value: Any, where: str) -> Any:
    """Return Pillow's picture, an array with its channels last, or a file; others unchanged."""
    if isinstance(value, bytes):
        return PictureFile(lambda: value)
    if isinstance(value, dict):
        return PictureFile(lambda: _content(value, where))
    if isinstance(value, list):
        value = np.asarray(value)
    if hasattr(value, "detach"):  # a tensor has its channels first
        array = as_array(value)
        return np.moveaxis(array, 0, -1) if array.ndim == 3 and len(array) in (1, 3, 4) else array
    return value


def _plain(label: Any) -> Any:
    """Convert a number of NumPy or PyTorch to Python's, and several of them to a list."""
    if getattr(label, "ndim", None) == 1:
        return as_array(label).tolist()
    return label.item() if getattr(label, "ndim", None) == 0 else label


def _together(images: list[Any]) -> Any:
    """Return one array if all are arrays of one shape and dtype; others unchanged."""
    if not all(isinstance(one, np.ndarray) for one in images):
        return images
    alike = {(one.shape, one.dtype) for one in images}
    return np.stack(images) if len(alike) == 1 else images


def _refuse_random(data: Any, images: list[Any], keys: tuple[str, str] | None, where: str) -> None:
    """Raise ``DataError`` if a row returns a different picture each time."""
    for at in range(min(3, len(images))):
        row = data[at]
        again = _picture(row[keys[0]] if keys is not None else row[0], where)
        if not isinstance(again, PictureFile) and not _same(images[at], again):
            raise DataError(
                f"{where}[{at}]: returns a different picture each time, so a run could not be "
                "repeated. Remove random transforms: the recipe augments"
            )


def _same(one: Any, other: Any) -> bool:
    try:
        return np.array_equal(np.asarray(one), np.asarray(other))
    except (TypeError, ValueError):
        return True  # a later check reports it


def _classes(data: Any, labels: list[Any]) -> tuple[str, ...] | None:
    """Return the attribute ``classes`` of a set, or of the set that it is a part of, if the labels
    are numbers."""
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(one, str) for one in names):
            numbers = all(
                isinstance(one, int) and not isinstance(one, bool)
                for label in labels
                for one in (label if isinstance(label, list | tuple) else [label])
            )
            return tuple(names) if numbers and names else None
        data = getattr(data, "dataset", None)
    return None


# Labels and classes


def _has_no_labels(rows: _Rows) -> bool:
    return all(map(is_missing, rows.labels))


def _one_of(given: list[tuple[str, ...] | None], name: str) -> tuple[str, ...] | None:
    if len(set(given)) > 1:
        listed = " and ".join(", ".join(one[:5]) if one else "no names" for one in given[:2])
        raise DataError(f"{name}: the parts have different class names: {listed}")
    return given[0]


def _present(
    names: Sequence[str] | None, labels: list[list[Any]], notes: list[str], name: str
) -> tuple[Sequence[str] | None, list[Any]]:
    """Return the classes that have pictures, and the labels as indices into them; with several
    labels, all classes."""
    if any(isinstance(one, list | tuple | set) for those in labels for one in those):
        return names, labels
    arrays = [labels_as_array(those, f"{name}: labels") for those in labels]
    if names is None or any(one.ndim != 1 or one.dtype.kind not in "iu" for one in arrays):
        return names, labels
    used = np.unique(np.concatenate(arrays))
    absent = [one for at, one in enumerate(names) if at not in used]
    if not absent or used.min() < 0 or used.max() >= len(names):
        return names, labels
    some = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
    notes.append(f"classes without pictures, left out ({len(absent)}): {some}")
    place = np.searchsorted(used, np.arange(len(names)))
    return [names[at] for at in used], [place[one] for one in arrays]
