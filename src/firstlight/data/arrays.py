"""Data sets of images in memory: arrays, or pictures opened with Pillow.

Axes: N images, H height, W width, C channels.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset, Int64Array, TrainTest, UInt8Array
from firstlight.data.decoded import Shape, choose_shape, decode_into
from firstlight.data.label_rows import BoolArray, Rows, matrix_in, numbered_rows, rows_in
from firstlight.data.levels import Piece, Range, dark_note, levels_of_set, stated
from firstlight.data.listing import alike_names
from firstlight.data.missing import refuse_missing
from firstlight.data.pictures import PictureSource
from firstlight.data.several_labels import ONE_EACH, refuse_empty, refuse_rows
from firstlight.data.split import TEST, TRAIN, VALIDATION, divide
from firstlight.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

    Images = npt.NDArray[Any] | Sequence[Image.Image | npt.NDArray[Any]]
Labels = Sequence[Any] | npt.NDArray[Any]
CHANNELS = ((), (1,), (3,), (4,))
"""The allowed sizes of an image's last axis: grey, colour, colour and alpha."""


class PictureFile:
    """A picture file among opened pictures; decoded when it is needed."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        return self._read()


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayPart:
    """Images and labels of one part, as the caller passed them."""

    part: str
    """``train``, ``validation``, ``test``, or empty if there are no parts."""
    images: Any
    labels: Any
    images_name: str
    labels_name: str


@dataclass(frozen=True, kw_only=True)
class ArrayForm:
    """What the caller specified about the images and labels."""

    class_names: Sequence[str] | None = None
    range: Range | None = None
    size: int | None = None
    shape: Shape | None = None
    known: Sequence[str] = ()
    """To measure a network that gives several labels: its labels. Each image then has any number of
    labels, also if none has two."""


PLAIN = ArrayForm()


def from_images(
    images: "Images",
    labels: Labels,
    *,
    test: "tuple[Images, Labels] | None" = None,
    class_names: Sequence[str] | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002
    size: int | None = None,
    name: str = "images",
) -> TrainTest:
    """Make a data set from labelled images in memory.

    ``test`` is a tuple of test images and their labels. Without it, 15 % of each class become the
    test part. The content decides which; near duplicates stay on one side.

    ``images``: an array N×H×W or N×H×W×C, or N pictures (Pillow's, or arrays) of any size and
    mode, converted to one shape like picture files. Arrays hold 0 to 255, floats from 0 to 1, or
    booleans; for other values, ``range`` says what is black and white, such as ``(0, 16)``.
    ``labels``: N numbers or names; with ``class_names``, numbers count from 0. For several labels
    per image: a matrix N×K of 0 and 1, or a list of names or numbers per image. ``size``: the side
    in pixels; chosen from the images by default. Raises ``DataError`` for invalid input.
    """
    if size is not None and not 8 <= size <= 512:
        raise DataError(f"{name}: size must be 8 to 512 pixels, not {size}")
    form = ArrayForm(class_names=class_names, range=stated(range, name), size=size)
    parts = [_named_part("" if test is None else TRAIN, images, labels, name)]
    if test is not None:
        if not isinstance(test, tuple | list) or len(test) != 2:
            raise DataError(f"{name}: wanted test=(images, labels), got {_kind(test)}")
        parts.append(_named_part(TEST, *test, f"{name} for the test"))
    return parted(*dataset_of(parts, form, name), name)


def parted(whole: Dataset, part_of: Sequence[str], name: str) -> TrainTest:
    """Divide images in memory into their parts. If no test part is given, make one."""
    dark = dark_note(int(whole.images_NHWC.max()))
    if dark:
        whole = replace(whole, notes=(*whole.notes, dark), warnings=(*whole.warnings, dark))
    divided, sizes = divide(whole, part_of)
    learnt = sizes[TRAIN] + sizes[VALIDATION]
    numbers_N = np.arange(len(whole))
    train = divided.take(numbers_N[:learnt], f"{name}/{TRAIN}")
    if sizes[VALIDATION]:
        train = replace(train, held_out_N=numbers_N[:learnt] >= sizes[TRAIN])
    return TrainTest(train, divided.take(numbers_N[learnt:], f"{name}/{TEST}"))


def whole_of(
    images: "Images", labels: Labels, given: Range | None, known: Sequence[str] = ()
) -> Dataset:
    """Return labelled images in memory as one data set, with nothing held out; ``known`` is as in
    ``ArrayForm``. Raises ``DataError``."""
    form = ArrayForm(range=given, known=known)
    return dataset_of([_named_part("", images, labels, "images")], form, "images")[0]


def as_array(values: Any) -> npt.NDArray[Any]:
    """Convert to a NumPy array, including PyTorch tensors with a gradient or on a GPU."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values)


def _named_part(part: str, images: Any, labels: Any, name: str) -> ArrayPart:
    return ArrayPart(
        part=part, images=images, labels=labels, images_name=name, labels_name=f"{name}: labels"
    )


def dataset_of(parts: Sequence[ArrayPart], form: ArrayForm, name: str) -> tuple[Dataset, list[str]]:
    """Return the images of all parts one after the other, and the part of each. Raises
    ``DataError``."""
    stacks = [_as_stack(one) for one in parts]
    part_of = [one.part for one, stack in zip(parts, stacks, strict=True) for _ in stack]
    several = [_several(one, form.known) for one in parts]
    labels: dict[str, Any]
    if any(one is not None for one in several):
        labels, class_names = _label_matrix(several, stacks, parts, form, name)
    else:
        labels, class_names = _label_numbers(stacks, parts, form, name)
    pixels_NHWC, origins, notes = _pixels(stacks, parts, form, name)
    alike = alike_names(class_names)
    data = Dataset(
        name=name,
        images_NHWC=pixels_NHWC,
        **labels,
        class_names=class_names,
        origins=origins,
        notes=(*notes, *alike),
        warnings=tuple(alike),
    )
    return data, part_of


def _label_numbers(
    stacks: "Sequence[npt.NDArray[Any] | list[Any]]",
    parts: Sequence[ArrayPart],
    form: ArrayForm,
    name: str,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return ``labels_N`` and the class names, if each image is of one class."""
    labels = []
    for one, stack in zip(parts, stacks, strict=True):
        lines = labels_as_array(one.labels, one.labels_name)
        refuse_rows(one.labels_name, lines)
        if lines.ndim == 2 and 1 in lines.shape and lines.size == len(stack):
            lines = lines.reshape(-1)
        _check_labels(lines, stack, one)
        labels.append(lines)
    if len({lines.dtype.kind in "biuf" for lines in labels}) > 1:
        kinds = " and ".join(str(lines.dtype) for lines in labels)
        raise DataError(f"{name}: wanted labels of one kind, all numbers or all names, got {kinds}")
    labels_N, class_names = _numbered(np.concatenate(labels), form.class_names, name)
    sets = [np.unique(part) for part in np.split(labels_N, np.cumsum([*map(len, labels)])[:-1])]
    _check_parts(sets, parts, class_names, name)
    return {"labels_N": labels_N}, class_names


def _several(part: ArrayPart, known: Sequence[str]) -> "BoolArray | Rows | None":
    """Return the labels of each image, if there may be several."""
    labels = as_array(part.labels) if hasattr(part.labels, "__array__") else part.labels
    if hasattr(labels, "dtype") and labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    matrix = matrix_in(labels, least=0 if known else 2)
    return rows_in(labels, known) if matrix is None else matrix


def _label_matrix(
    several: "Sequence[BoolArray | Rows | None]",
    stacks: "Sequence[npt.NDArray[Any] | list[Any]]",
    parts: Sequence[ArrayPart],
    form: ArrayForm,
    name: str,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return ``labels_NK`` and the class names, if an image may have several labels."""
    given = [one for one in several if one is not None]
    if len(given) < len(several):
        raise DataError(
            f"{name}: the images of one part have several labels, those of another have one each. "
            "Give all of them lists of labels"
        )
    for rows, stack, part in zip(given, stacks, parts, strict=True):
        if len(rows) != len(stack):
            raise DataError(
                f"{part.labels_name}: wanted {len(stack)} rows of labels, one for each image, got "
                f"{len(rows)}"
            )
    labels_NK, class_names = numbered_rows(given, form.class_names, name)
    ends = np.cumsum([*map(len, given)])[:-1]
    sets = [np.flatnonzero(part_NK.any(axis=0)) for part_NK in np.split(labels_NK, ends)]
    _check_parts(sets, parts, class_names, name)
    return {"labels_NK": labels_NK}, class_names


def _check_parts(
    sets: Sequence[Int64Array], parts: Sequence[ArrayPart], class_names: Sequence[str], name: str
) -> None:
    """Raise ``DataError`` if a part has a class, by its number in ``sets``, that the training part
    does not have."""
    placed = [(at, one.part) for one, found in zip(parts, sets, strict=True) for at in found]
    learnt = {at for at, part in placed if part in (TRAIN, "")}
    for at, part in placed:
        if at not in learnt:
            raise DataError(
                f"{name}: {part} has the class {class_names[at][:60]!r}, which train does not "
                "have. Rename or remove it"
            )


# Images


def _as_stack(part: ArrayPart) -> "npt.NDArray[Any] | list[Any]":
    """Return a non-empty array N×H×W or N×H×W×C, or a non-empty list of pictures. Raises
    ``DataError``."""
    images, name = part.images, part.images_name
    if isinstance(images, str | bytes | Path) or not (
        hasattr(images, "__array__") or isinstance(images, Iterable)
    ):
        raise DataError(
            f"{name}: wanted an array of images N×H×W or N×H×W×C, or a list of pictures, got "
            f"{_kind(images)}. To read files use firstlight.load(PATH)"
        )
    if not hasattr(images, "__array__"):
        images = list(images)
    elif np.ma.is_masked(images):
        raise DataError(f"{name}: got masked pixels; fill them first")
    elif as_array(images).dtype == object:
        images = list(as_array(images))
    if isinstance(images, list):
        if not images:
            raise DataError(f"{name}: wanted images, got none")
        return images
    stack = as_array(images)
    if stack.ndim in (3, 4) and stack.size:
        return stack
    hint = ""
    side = math.isqrt(stack.shape[1]) if stack.ndim == 2 else 0
    if side > 1 and side * side == stack.shape[1]:
        hint = f"; for rows of {stack.shape[1]} pixels use images.reshape(-1, {side}, {side})"
    raise DataError(
        f"{name}: wanted images N×H×W or N×H×W×C, got an array of shape {stack.shape}{hint}"
    )


def _pixels(
    stacks: "Sequence[npt.NDArray[Any] | list[Any]]",
    parts: Sequence[ArrayPart],
    form: ArrayForm,
    name: str,
) -> tuple[UInt8Array, tuple[bytes, ...] | None, tuple[str, ...]]:
    """Return the images as uint8 N×H×W×C, their origins if they were resized, and messages about
    what was done."""
    if not all(isinstance(stack, np.ndarray) for stack in stacks):
        named = [
            (f"{part.images_name}[{at}]", image)
            for part, stack in zip(parts, stacks, strict=True)
            for at, image in enumerate(stack)
        ]
        return _pictures(named, form, name)
    pieces = []
    arrays = cast("Sequence[npt.NDArray[Any]]", stacks)
    for part, stack in zip(parts, arrays, strict=True):
        whole = stack[..., None] if stack.ndim == 3 else stack
        if whole.shape[3] not in (1, 3, 4):
            raise DataError(
                f"{part.images_name}: wanted 1 (grey), 3 (colour) or 4 (and alpha) channels as the "
                f"last axis, got an array of shape {stack.shape}; transpose it first"
                f"{_axes_hint(stack)}"
            )
        pieces.append(Piece(values=whole, name=part.images_name))
    levels, notes = levels_of_set(pieces, form.range)
    if len({one.shape[1:] for one in levels}) > 1:
        shapes = " and ".join(str(stack.shape) for stack in arrays)
        raise DataError(f"{name}: the parts do not match: wanted images of one size, got {shapes}")
    together = levels[0] if len(levels) == 1 else np.concatenate(levels)
    height, width, channels = together.shape[1:]
    wanted = form.shape or ((form.size,) * 2 + (channels,) if form.size else together.shape[1:])
    if channels == 4 or together.shape[1:] != wanted:
        named = [(f"{name}[{at}]", image) for at, image in enumerate(together)]
        opened, origins, more = _pictures(named, form, name)
        return opened, origins, (*notes, *more)
    kind = "grey" if channels == 1 else "colour"
    told = (f"{width} × {height} {kind}, as they are", *notes)
    return np.ascontiguousarray(together), None, told


def _axes_hint(stack: npt.NDArray[Any]) -> str:
    """Return a hint if another axis may hold the channels."""
    if stack.ndim == 4 and stack.shape[1] in (1, 3, 4):
        return ": images.transpose(0, 2, 3, 1)"
    return ""


def _pictures(
    images: Sequence[tuple[str, Any]], form: ArrayForm, name: str
) -> tuple[UInt8Array, tuple[bytes, ...], tuple[str, ...]]:
    """Convert named pictures of any size and mode to one shape, like picture files."""
    opened, notes = open_arrays(images, form.range)
    sources = [PictureSource(name=where, content=image) for where, image in opened]
    shape, reason = choose_shape(sources, form.size, form.shape)
    with tempfile.TemporaryDirectory(prefix="firstlight-") as folder:
        try:
            decoded = decode_into(Path(folder) / "decoded", sources, shape)
            if decoded.problems:
                where, why = decoded.problems[0]
                raise DataError(f"{where}: {why}. Leave out the image and its label")
            flat = np.fromfile(Path(folder) / "decoded", np.uint8)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
    told = (reason, *notes, *decoded.notes)
    return flat.reshape(len(sources), *shape), decoded.origins, told


def open_arrays(
    images: Sequence[tuple[str, Any]], given: Range | None
) -> "tuple[list[tuple[str, Image.Image]], tuple[str, ...]]":
    """Convert arrays H×W or H×W×C among pictures to Pillow's pictures, with one range for all
    arrays of a dtype."""
    from PIL import Image

    pieces, at_piece = [], []
    for at, (where, image) in enumerate(images):
        if isinstance(image, Image.Image | PictureFile):
            continue
        if not hasattr(image, "__array__"):
            raise DataError(
                f"{where}: wanted a picture (Pillow's, or an array), got {_kind(image)}; "
                + (
                    "turn the lists into an array first: numpy.array(images)"
                    if isinstance(image, list | tuple)
                    else "to read picture files use firstlight.load(FOLDER)"
                )
            )
        values = as_array(image)
        if (
            values.ndim not in (2, 3)
            or not values.size
            or values.shape[2:] not in ((), (1,), (3,), (4,))
        ):
            raise DataError(f"{where}: wanted H×W or H×W×C, got {values.shape}")
        pieces.append(Piece(values=values, name=where))
        at_piece.append(at)
    levels, notes = levels_of_set(pieces, given, single=True)
    opened = list(images)
    for at, piece, one in zip(at_piece, pieces, levels, strict=True):
        try:
            picture = Image.fromarray(one[..., 0] if one.shape[2:] == (1,) else one)
        except (TypeError, ValueError) as error:
            raise DataError(f"{piece.name}: wanted H×W or H×W×C, got {one.shape}") from error
        opened[at] = (piece.name, picture)
    return opened, notes


# Labels


def labels_as_array(labels: Any, name: str) -> npt.NDArray[Any]:
    """Return labels as numbers or text. Raises ``DataError`` that names the rows without one."""
    if isinstance(labels, str | bytes) or not (
        hasattr(labels, "__array__") or isinstance(labels, Iterable)
    ):
        raise DataError(f"{name}: wanted one for each image, numbers or names, got {_kind(labels)}")
    if not hasattr(labels, "__array__"):
        labels = list(labels)
    if isinstance(labels, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(labels).reshape(-1).tolist()
        pairs = zip(labels.data.reshape(-1).tolist(), hidden, strict=True)
        labels = [None if masked else one for one, masked in pairs]
    each = as_array(labels) if hasattr(labels, "__array__") else labels
    refuse_missing(name, each)
    refuse_empty(name, each)
    try:
        lines = as_array(labels)
    except ValueError as error:  # lists of different lengths
        raise DataError(
            f"{name}: wanted one for each image, got lists of different lengths. {ONE_EACH}"
        ) from error
    if lines.dtype.kind == "S":
        return np.char.decode(lines, "utf-8", "replace")
    if lines.dtype == object and lines.ndim == 1:
        whole = all(isinstance(one, int | np.integer) for one in lines.tolist())
        return np.array(lines.tolist()) if whole else lines.astype(str)
    return lines


def _check_labels(
    labels: npt.NDArray[Any], stack: "npt.NDArray[Any] | list[Any]", part: ArrayPart
) -> None:
    """Raise ``DataError`` unless there is one number or name for each image."""
    name, count = part.labels_name, len(stack)
    if labels.shape != (count,) or labels.dtype.kind not in "biufU":
        hint = ""
        if labels.ndim == 2 and labels.dtype.kind in "biuf":
            hint = "; for one-hot rows use labels.argmax(axis=1)"
        elif isinstance(stack, np.ndarray) and labels.shape == stack.shape[-1:]:
            hint = "; if the last axis numbers the images, use numpy.moveaxis(images, -1, 0)"
        raise DataError(
            f"{name}: wanted {count} labels, one for each image, got {labels.dtype} of shape "
            f"{labels.shape}{hint}"
        )
    if labels.dtype.kind == "f" and not bool(
        np.isfinite(labels).all() and (labels == np.rint(labels)).all()
    ):
        raise DataError(f"{name}: wanted labels that are names or whole numbers, got fractions")


def _numbered(
    labels: npt.NDArray[Any], class_names: Sequence[str] | None, name: str
) -> tuple[Int64Array, tuple[str, ...]]:
    """Number the labels from 0, and return the name of each class."""
    numbers = labels.dtype.kind in "biuf"
    if labels.dtype.kind in "bf":
        labels = labels.astype(np.int64)
    if class_names is None:
        found, at_N = np.unique(labels, return_inverse=True)
        names = tuple(str(one) for one in found)
    else:
        names = tuple(map(str, class_names))
        if numbers:
            at_N = labels
            if labels.min() < 0 or labels.max() >= len(names):
                raise DataError(
                    f"{name}: labels run from {labels.min()} to {labels.max()}, but there are "
                    f"{len(names)} class names, for 0 to {len(names) - 1}"
                )
        else:
            place = {one: at for at, one in enumerate(names)}
            strange = next((one for one in labels.tolist() if one not in place), None)
            if strange is not None:
                raise DataError(f"{name}: the label {strange[:60]!r} is not one of the class names")
            at_N = np.array([place[one] for one in labels.tolist()])
    return at_N.reshape(-1).astype(np.int64), names


def _kind(value: Any) -> str:
    """Describe a value's type and shape, for messages."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return f"{kind} of shape {tuple(shape)}" if isinstance(shape, tuple) else kind
