"""Images that are in memory or in one ``.npz``: arrays, or pictures that Pillow has opened.

Axes: N images, H height, W width, C channels.
"""

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset, Int64Array, TrainTest, UInt8Array
from firstlight.data.decoded import Shape, choose_shape, decode_into
from firstlight.data.pictures import PictureSource
from firstlight.data.split import PART_NAMES, TEST, TRAIN, divide
from firstlight.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

_IMAGES = {"images", "image", "x", "data"}
_LABELS = {"labels", "label", "y", "targets"}
_NAMES = {"class_names", "classes", "label_names"}
_WANTED = (
    "wanted arrays images and labels, or for each part train_images, train_labels, test_images, "
    "test_labels (x_train and the like do as well)"
)


def from_images(
    images: "npt.NDArray[Any] | Sequence[Image.Image | npt.NDArray[Any]]",
    labels: Sequence[Any] | npt.NDArray[Any],
    *,
    class_names: Sequence[str] | None = None,
    size: int | None = None,
    name: str = "images",
) -> TrainTest:
    """Labelled images in memory as a data set, a test part taken from them: 15 % of each class,
    decided by content, near copies on one side.

    ``images``: an array N×H×W or N×H×W×C, or N pictures (Pillow's, or arrays) of any size and
    mode, brought to one shape as picture files are. Arrays hold 0 to 255, or floats 0 to 1.
    ``labels``: N numbers or names; with ``class_names`` numbers count from 0. ``size``: side in
    pixels; without it the images decide. Raises ``DataError`` for what does not fit.
    """
    pixels_NHWC, notes = _pixels(images, size, None, name)
    labels_N, names = _numbered(np.asarray(labels), class_names, len(pixels_NHWC), name)
    whole = Dataset(
        name=name, images_NHWC=pixels_NHWC, labels_N=labels_N, class_names=names, notes=notes
    )
    divided, sizes = divide(whole, [""] * len(whole))
    numbers_N = np.arange(len(whole))
    test = divided.take(numbers_N[sizes[TRAIN] :], f"{name}/{TEST}")
    return TrainTest(divided.take(numbers_N[: sizes[TRAIN]], f"{name}/{TRAIN}"), test)


def read_npz(
    file: Path, size: int | None = None, shape: Shape | None = None
) -> tuple[Dataset, list[str]]:
    """The images of an ``.npz``, and the part of each, empty where there are no parts.

    Takes ``images`` and ``labels``, with ``train``, ``validation`` or ``test`` before or after
    where there are parts, and perhaps ``class_names``. No pickle is read. Raises ``DataError``.
    """
    found, names, other = _sorted_arrays(file)
    images, labels, part_of = [], [], list[str]()
    for part, pair in found.items():
        if len(pair) < 2:
            there = ", ".join(key for key, _ in pair.values())
            raise DataError(f"{file}: {_WANTED}; got {there} without its counterpart")
        (pixels_name, pixels), (labels_name, lines) = pair["images"], pair["labels"]
        if pixels.ndim < 3 or lines.ndim < 1 or len(pixels) != len(lines) or not len(pixels):
            raise DataError(
                f"{file}: wanted images N×H×W or N×H×W×C and a label for each, got {pixels_name} "
                f"of shape {pixels.shape} and {labels_name} of shape {lines.shape}"
            )
        images.append(pixels)
        labels.append(lines.reshape(len(lines), -1))
        part_of += [part] * len(pixels)
    if not found or (TRAIN not in found and "" not in found) or ("" in found and len(found) > 1):
        raise DataError(f"{file}: {_WANTED}; got {', '.join(other) or 'nothing of the kind'}")
    try:
        whole, lined = np.concatenate(images), np.concatenate(labels)
    except ValueError as error:
        shapes = " and ".join(str(array.shape) for array in (*images, *labels))
        raise DataError(
            f"{file}: the parts do not fit together: wanted images of one size, and labels of one "
            f"kind, got {shapes}"
        ) from error
    pixels_NHWC, notes = _pixels(whole, size, shape, str(file))
    labels_N, class_names = _numbered(lined, names, len(pixels_NHWC), str(file))
    if other:
        notes = (*notes, f"left out: {', '.join(other)}")
    data = Dataset(
        name=str(file),
        images_NHWC=pixels_NHWC,
        labels_N=labels_N,
        class_names=class_names,
        notes=notes,
    )
    return data, part_of


_Found = dict[str, dict[str, tuple[str, npt.NDArray[Any]]]]
"""Part, ``images`` or ``labels``, to the array's own name and the array."""


def _sorted_arrays(file: Path) -> tuple[_Found, Sequence[str] | None, list[str]]:
    """What the arrays of a file are by their names; class names; and the names of the others."""
    found: _Found = {}
    names, other = None, []
    if not zipfile.is_zipfile(file):
        raise DataError(
            f"{file}: cannot be read as .npz: no ZIP archive, or cut short. Write it with "
            "numpy.savez"
        )
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            for key in arrays.files:
                words = key.lower().split("_")
                part = next((PART_NAMES[w] for w in words if w in PART_NAMES), "")
                rest = "_".join(w for w in words if w not in PART_NAMES)
                kind = "images" if rest in _IMAGES else "labels" if rest in _LABELS else ""
                if key.lower() in _NAMES:
                    names = [str(name) for name in np.atleast_1d(arrays[key])]
                elif kind and kind not in found.get(part, {}):
                    found.setdefault(part, {})[kind] = (key, arrays[key])
                else:
                    other.append(key)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as e:
        raise DataError(
            f"{file}: cannot be read as .npz: {e}. Write it with numpy.savez, from arrays of "
            "numbers or text"
        ) from e
    return found, names, other


def _pixels(
    images: Any, size: int | None, shape: Shape | None, name: str
) -> tuple[UInt8Array, tuple[str, ...]]:
    """uint8 N×H×W×C, and what was done, for people."""
    if not isinstance(images, np.ndarray) or images.dtype == object:
        return _pictures(list(images), size, shape, name)
    if images.ndim not in (3, 4) or len(images) == 0 or 0 in images.shape:
        raise DataError(
            f"{name}: wanted images N×H×W or N×H×W×C, got an array of shape {images.shape}"
        )
    levels, note = _levels(images, name)
    if levels.ndim == 3:
        levels = levels[..., None]
    if levels.shape[3] not in (1, 3, 4):
        raise DataError(
            f"{name}: wanted 1 (grey), 3 (colour) or 4 (and alpha) channels as the last axis, got "
            f"an array of shape {images.shape}; transpose it first"
        )
    height, width, channels = levels.shape[1:]
    wanted = shape or ((size, size, channels) if size is not None else levels.shape[1:])
    if channels == 4 or levels.shape[1:] != wanted:
        opened, notes = _pictures(list(levels), size, shape, name)
        return opened, (*note, *notes)
    kind = "grey" if channels == 1 else "colour"
    return np.ascontiguousarray(levels), (f"{width} × {height} {kind}, as they are", *note)


def _levels(values: npt.NDArray[Any], name: str) -> tuple[UInt8Array, tuple[str, ...]]:
    """0 to 255 as uint8, from whole numbers of that range or floats from 0 to 1."""
    if values.dtype == np.uint8:
        return values, ()
    if values.dtype.kind not in "biuf":
        raise DataError(f"{name}: wanted images of numbers, got {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and 0 < high <= 1:
        return np.rint(values * 255).astype(np.uint8), ("0 to 1 taken for 0 to 255",)
    if not (low >= 0 and high <= 255) or not bool((values == np.rint(values)).all()):
        raise DataError(
            f"{name}: wanted pixels of 0 to 255, or floats of 0 to 1; got {values.dtype} from "
            f"{low:g} to {high:g}. Bring them to uint8 first"
        )
    return values.astype(np.uint8), ()


def _pictures(
    images: list[Any], size: int | None, shape: Shape | None, name: str
) -> tuple[UInt8Array, tuple[str, ...]]:
    """Pictures of any size and mode, brought to one shape as picture files are."""
    from PIL import Image

    if not images:
        raise DataError(f"{name}: wanted images, got none")
    sources = []
    for at, image in enumerate(images):
        where = f"{name}[{at}]"
        if isinstance(image, np.ndarray):
            levels, _ = _levels(image, where)
            try:
                image = Image.fromarray(levels[..., 0] if levels.shape[2:] == (1,) else levels)
            except (TypeError, ValueError) as error:
                got = image.shape
                raise DataError(f"{where}: wanted H×W or H×W×C, got {got}") from error
        if not isinstance(image, Image.Image):
            raise DataError(
                f"{where}: wanted a picture (Pillow's, or an array), got {type(image).__name__}; "
                "picture files are read with firstlight.load(FOLDER)"
            )
        sources.append(PictureSource(name=where, content=image))
    shape, reason = choose_shape(sources, size, shape)
    with tempfile.TemporaryDirectory(prefix="firstlight-") as folder:
        try:
            decoded = decode_into(Path(folder) / "decoded", sources, shape)
            if decoded.problems:
                where, why = decoded.problems[0]
                raise DataError(f"{where}: {why}; leave it out, and its label")
            flat = np.fromfile(Path(folder) / "decoded", np.uint8)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
    return flat.reshape(len(sources), *shape), (reason, *decoded.notes)


def _numbered(
    labels: npt.NDArray[Any], class_names: Sequence[str] | None, count: int, name: str
) -> tuple[Int64Array, tuple[str, ...]]:
    """Labels from 0 on, and the name of each class."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "biufUO":
        hint = "; of one-hot rows take labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise DataError(
            f"{name}: wanted {count} labels, one for each image, got {labels.dtype} of shape "
            f"{labels.shape}{hint}"
        )
    if labels.dtype.kind == "f" and not bool((labels == np.rint(labels)).all()):
        raise DataError(f"{name}: wanted labels that are names or whole numbers, got fractions")
    if class_names is not None and labels.dtype.kind in "biuf":
        numbers_N = labels.astype(np.int64)
        if numbers_N.min() < 0 or numbers_N.max() >= len(class_names):
            raise DataError(
                f"{name}: labels run from {numbers_N.min()} to {numbers_N.max()}, but there are "
                f"{len(class_names)} class names, of 0 to {len(class_names) - 1}"
            )
        names = tuple(map(str, class_names))
    else:
        as_number = labels.astype(np.int64) if labels.dtype.kind in "biuf" else labels.astype(str)
        found, numbers = np.unique(as_number, return_inverse=True)
        numbers_N, names = numbers.reshape(-1).astype(np.int64), tuple(str(one) for one in found)
    if len(names) < 2:
        raise DataError(f"{name}: wanted at least two classes, got {names[0]!r} alone")
    return numbers_N, names
