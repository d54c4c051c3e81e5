"""Read arrays of images and labels from files: ``.npz``, several ``.npy``, MATLAB's ``.mat``.

No pickle is read. What a file says about its arrays is compared with its content and with the
limits before anything is unpacked.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from firstlight.data.arrays import PLAIN, ArrayForm, ArrayPart, dataset_of
from firstlight.data.dataset import Dataset
from firstlight.data.levels import stated
from firstlight.data.split import PART_NAMES, TRAIN
from firstlight.errors import DataError, UserError
from firstlight.packages import imported

PACKED = (".npz", ".npy", ".mat")
UNPACKED = 1 << 30
"""Any file may unpack to this many bytes, a larger one to this many times its size:"""
TIMES = 20

_IMAGES = {"images", "image", "x", "data"}
_LABELS = {"labels", "label", "y", "targets"}
_NAMES = {"class_names", "classes", "label_names"}
_WANTED = (
    "wanted arrays images and labels, or for each part train_images, train_labels, test_images, "
    "test_labels (or names like x_train)"
)
_MATLAB_BYTES = {"double": 8, "single": 4, "logical": 1}
_MATLAB_BYTES |= {f"{u}int{bits}": bits // 8 for u in ("", "u") for bits in (8, 16, 32, 64)}
_MATLAB_COMPRESSED = 15


class _Stored(NamedTuple):
    """An array that is not read yet."""

    size: int
    """Bytes in memory."""
    read: Callable[[], npt.NDArray[Any]]


@dataclass
class _Found:
    """The arrays of a file, sorted by their names."""

    parts: dict[str, dict[str, tuple[str, npt.NDArray[Any]]]] = field(default_factory=dict)
    """Part and ``images`` or ``labels`` to the array's own name and the array."""
    class_names: list[str] | None = None
    range: npt.NDArray[Any] | None = None
    other: list[str] = field(default_factory=list)
    """Names of the others."""


def read_packed(file: Path, form: ArrayForm = PLAIN) -> tuple[Dataset, list[str]]:
    """Read the images of a file, and the part of each, empty without parts.

    The arrays are ``images`` and ``labels``, with ``train``, ``validation`` or ``test`` before or
    after the name if there are parts. Optional arrays are ``class_names``, and ``range``, the
    values of black and white, unless ``form`` has them. Images of a ``.mat`` may be numbered by
    their last axis. Raises ``DataError``.
    """
    found = _sorted(file)
    parts = []
    for part, pair in found.parts.items():
        if len(pair) < 2:
            there = ", ".join(key for key, _ in pair.values())
            raise DataError(
                f"{file}: {_WANTED}; got {there} without its counterpart{_beside(file)}"
            )
        (pixels_name, pixels), (labels_name, labels) = pair["images"], pair["labels"]
        if file.suffix.lower() == ".mat":
            pixels = _images_first(pixels, labels, f"{file}: {pixels_name}")
        if (
            pixels.ndim < 3
            or labels.ndim < 1
            or not len(pixels)
            or len(pixels) not in (len(labels), labels.size)
        ):
            raise DataError(
                f"{file}: wanted images N×H×W or N×H×W×C and a label for each, got {pixels_name} "
                f"of shape {pixels.shape} and {labels_name} of shape {labels.shape}{_rows(pixels)}"
            )
        parts.append(
            ArrayPart(
                part=part,
                images=pixels,
                labels=labels,
                images_name=f"{file}: {pixels_name}",
                labels_name=f"{file}: {labels_name}",
            )
        )
    names = set(found.parts)
    if not names & {TRAIN, ""} or ("" in names and len(names) > 1):
        keys = [key for pair in found.parts.values() for key, _ in pair.values()]
        got = _listed(keys + found.other)
        raise DataError(f"{file}: {_WANTED}; got {got or 'none of them'}{_beside(file)}")
    limits = form.range or stated(found.range, str(file))
    form = replace(form, class_names=found.class_names, range=limits)
    data, part_of = dataset_of(parts, form, str(file))
    if found.other:
        left_out = f"left out: {_listed(found.other)}"
        data = replace(data, notes=(*data.notes, left_out), warnings=(*data.warnings, left_out))
    return data, part_of


def named_arrays(file: Path, names: Sequence[str], most: int) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays with these names, at most ``most`` bytes together. Raises ``DataError``."""
    with _as_data_error(file):
        stored = _arrays_in(file)
        wanted = {name: stored[name] for name in names if stored.get(name) is not None}
        if len(wanted) < len(names):
            raise DataError(f"{file}: wanted {', '.join(names)}, got {_listed(list(stored))}")
        chosen = {name: one for name, one in wanted.items() if one is not None}
        size = sum(one.size for one in chosen.values())
        if size > most:
            raise DataError(f"{file}: holds {size:,} bytes, more than {most:,}")
        return {name: one.read() for name, one in chosen.items()}


def files_of(file: Path) -> list[Path]:
    """Return all files that ``read_packed`` reads for this one."""
    if file.suffix.lower() != ".npy":
        return [file]
    beside = [p for p in sorted(file.parent.glob("*.npy")) if p.is_file() and _sort(p.stem)[1]]
    return beside if file in beside else [file, *beside]


def packed_in(folder: Path) -> Path | None:
    """Return the first ``.npy`` of images in a folder without subfolders, if there is one."""
    try:
        if any(p.is_dir() and not p.name.startswith(".") for p in folder.iterdir()):
            return None
        return next((p for p in sorted(folder.glob("*.npy")) if _sort(p.stem)[1] == "images"), None)
    except OSError:
        return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:10]) + (", …" if len(names) > 10 else "")


def _beside(file: Path) -> str:
    if file.suffix.lower() != ".npy":
        return ""
    return f". Save each as a separate file next to {file.name}, such as images.npy and labels.npy"


def _rows(pixels: npt.NDArray[Any]) -> str:
    side = math.isqrt(pixels.shape[1]) if pixels.ndim == 2 else 0
    if side < 2 or side * side != pixels.shape[1]:
        return ""
    return f"; for rows of {pixels.shape[1]} pixels save images.reshape(-1, {side}, {side})"


def _images_first(
    pixels: npt.NDArray[Any], labels: npt.NDArray[Any], name: str
) -> npt.NDArray[Any]:
    """Move the axis of the images to the front. MATLAB's images are often H×W×C×N."""
    count = labels.size
    if pixels.ndim < 3 or pixels.shape[-1] != count:
        return pixels
    if pixels.shape[0] == count and not (pixels.ndim == 4 and pixels.shape[2] in (1, 3, 4)):
        raise DataError(
            f"{name}: wanted images N×H×W or H×W×N, got shape {pixels.shape}, which could be "
            "either. Save it with another number of images"
        )
    return np.moveaxis(pixels, -1, 0)


def _sort(key: str) -> tuple[str, str]:
    """Return an array's part and kind: images, labels, names, range, or unknown."""
    word = key.lower()
    words = word.split("_")
    part = next((PART_NAMES[w] for w in words if w in PART_NAMES), "")
    rest = "_".join(w for w in words if w not in PART_NAMES)
    if word in _NAMES:
        return "", "names"
    if word == "range":
        return "", "range"
    return part, "images" if rest in _IMAGES else "labels" if rest in _LABELS else ""


def _sorted(file: Path) -> _Found:
    """Sort the arrays of a file by kind. Only known ones are read."""
    with _as_data_error(file):
        return _read(file, _arrays_in(file))


def _arrays_in(file: Path) -> dict[str, _Stored | None]:
    """Return all arrays by name; None for unknown ones and for what is not an array of numbers."""
    return {".npz": _npz, ".npy": _npy, ".mat": _mat}[file.suffix.lower()](file)


@contextmanager
def _as_data_error(file: Path) -> Iterator[None]:
    """Turn every error in a file's arrays into ``DataError``."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise DataError(f"{file}: its arrays do not fit in memory. Use fewer images") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    # On damaged files, NumPy and SciPy raise two dozen kinds of exceptions, for example struct's.
    except Exception as error:
        reason = str(error)[:200] or type(error).__name__
        raise DataError(f"{file}: damaged, or not arrays of numbers or text: {reason}") from error


def _read(file: Path, arrays: dict[str, _Stored | None]) -> _Found:
    found, chosen = _Found(), dict[str, tuple[str, str]]()
    for key, stored in arrays.items():
        part, kind = _sort(key)
        if not kind or stored is None or (part, kind) in chosen.values():
            found.other.append(key)
        else:
            chosen[key] = part, kind
    total = sum(stored.size for key in chosen if (stored := arrays[key]) is not None)
    packed = sum(path.stat().st_size for path in files_of(file))
    if total > max(UNPACKED, TIMES * packed):
        raise DataError(
            f"{file}: {packed / 1e6:,.0f} MB that unpack to {total / 1e9:,.1f} GB are not read; at "
            f"most {UNPACKED >> 30} GiB, or {TIMES} times the file. Save it uncompressed "
            "(numpy.savez), or fewer images"
        )
    for key, (part, kind) in chosen.items():
        stored = arrays[key]
        assert stored is not None, "chosen"
        array = stored.read()
        if kind == "names":
            found.class_names = [str(name) for name in array.reshape(-1).tolist()]
        elif kind == "range":
            found.range = array.reshape(-1)
        else:
            found.parts.setdefault(part, {})[kind] = (key, array)
    return found


def _npz(file: Path) -> dict[str, _Stored | None]:
    if not zipfile.is_zipfile(file):
        raise DataError(
            f"{file}: cannot be read as .npz: not a ZIP archive, or truncated. Write it with "
            "numpy.savez"
        )
    arrays: dict[str, _Stored | None] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key == member.filename or not _sort(key)[1]:
                arrays[key] = None
                continue
            with archive.open(member) as stream:
                size = _promised(stream, member.file_size, f"{file}: {key}")

            def read(name: str = member.filename) -> npt.NDArray[Any]:
                with zipfile.ZipFile(file) as again, again.open(name) as stream:
                    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

            arrays[key] = _Stored(size, read)
    return arrays


def _npy(file: Path) -> dict[str, _Stored | None]:
    arrays: dict[str, _Stored | None] = {}
    for path in files_of(file):
        with path.open("rb") as stream:
            size = _promised(stream, path.stat().st_size, str(path))

        def read(path: Path = path) -> npt.NDArray[Any]:
            with path.open("rb") as stream:
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

        arrays[path.stem] = _Stored(size, read)
    return arrays


def _promised(stream: IO[bytes], length: int, name: str) -> int:
    """Return the bytes of the array that a header announces. Raises ``DataError`` unless they
    follow."""
    major, minor = np.lib.format.read_magic(stream)
    readers = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }
    if major not in readers:
        raise DataError(f"{name}: wanted NumPy's format 1 or 2, got {major}.{minor}")
    shape, _, dtype = readers[major](stream)
    if dtype.hasobject:
        raise DataError(
            f"{name}: wanted numbers or text, got pickled objects (allow_pickle is off)"
        )
    size = math.prod(shape) * int(dtype.itemsize)
    if any(side < 0 for side in shape) or size != length - stream.tell():
        raise DataError(
            f"{name}: damaged: its header announces an array of shape {shape} and {dtype}, "
            f"{size:,} bytes, but only {length - stream.tell():,} follow"
        )
    return size


def _mat(file: Path) -> dict[str, _Stored | None]:
    io = imported("scipy.io", file.name)
    _check_unpacked(file)
    try:
        inside = io.whosmat(file)
    except NotImplementedError as error:
        raise DataError(
            f"{file}: MATLAB's version 7.3 (HDF5) is not supported. Save it with '-v7', or as .npz"
        ) from error
    arrays: dict[str, _Stored | None] = {}
    for key, shape, kind in inside:
        if kind not in _MATLAB_BYTES:
            arrays[key] = None
            continue

        def read(key: str = key, flags: bool = kind == "logical") -> npt.NDArray[Any]:
            array = np.asarray(io.loadmat(file, variable_names=[key])[key])
            return array.astype(bool) if flags else array

        arrays[key] = _Stored(math.prod(shape) * _MATLAB_BYTES[kind], read)
    return arrays


def _check_unpacked(file: Path) -> None:
    """Raise ``DataError`` if the compressed parts of a ``.mat`` unpack to more than is allowed."""
    most = max(UNPACKED, TIMES * file.stat().st_size)
    with file.open("rb") as stream:
        head = stream.read(128)
        if len(head) < 128 or head[126:128] not in (b"IM", b"MI"):
            return  # version 4 is not compressed
        order = "<" if head[126:128] == b"IM" else ">"
        total = 0
        while len(tag := stream.read(8)) == 8:
            kind, length = struct.unpack(f"{order}II", tag)
            if kind != _MATLAB_COMPRESSED:
                stream.seek(length, 1)
                continue
            unpacker, left = zlib.decompressobj(), length
            while left and (block := stream.read(min(left, 1 << 16))):
                left -= len(block)
                while block:
                    total += len(unpacker.decompress(block, 1 << 22))
                    block = unpacker.unconsumed_tail
                    if total > most:
                        raise DataError(
                            f"{file}: unpacks to more than {most / 1e9:,.1f} GB, which is too "
                            "much. Save it uncompressed ('-v6'), or fewer images"
                        )
