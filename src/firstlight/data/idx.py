"""IDX, the format of MNIST: a big-endian header, then the bytes of one array.

Two zero bytes, the type (8 is unsigned byte, 12 is 32-bit integer), the number of axes, a 32-bit
length for each axis, data.
"""

import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Int64Array, UInt8Array
from firstlight.data.exact import from_zero
from firstlight.errors import DataError

_UNSIGNED_BYTE, _INTEGER = 8, 12
_DTYPES: dict[int, np.dtype[Any]] = {_UNSIGNED_BYTE: np.dtype(np.uint8), _INTEGER: np.dtype(">i4")}


class Member(NamedTuple):
    """A file inside a ZIP archive, which is read like a file in a folder."""

    archive: Path
    name: str

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}"

    @contextmanager
    def open(self, mode: Literal["rb"]) -> Iterator[IO[bytes]]:
        """Open the unpacked bytes. Raises ``DataError`` if the archive is damaged or lacks the
        file."""
        try:
            with zipfile.ZipFile(self.archive) as archive, archive.open(self.name) as stream:
                yield stream
        except KeyError as error:
            raise DataError(f"{self.archive}: {self.name} is missing from the archive") from error
        except zipfile.BadZipFile as error:
            raise DataError(f"{self}: damaged archive: {error}. Fetch it again") from error


class _Wanted(NamedTuple):
    """What a file must contain."""

    lengths: tuple[int | None, ...]
    """The length of each axis; None for any."""
    what: str
    """The content in words, for messages."""
    kind: int = _UNSIGNED_BYTE
    most: int | None = None
    """The maximum in bytes."""


def read_images(
    path: Path | Member, shape: tuple[int, int], count: int | None = None
) -> UInt8Array:
    """Read uint8 N×H×W×1 from a file with three axes, plain or gzip.

    Raises ``DataError`` that names the file if the header does not announce ``count`` images of
    ``shape``, or if the number of bytes differs from the header's. No memory is allocated before
    the header is checked.
    """
    return _read(path, _Wanted((count, *shape), "images"))[..., None]


def read_labels(
    path: Path | Member, classes: int, count: int | None = None, first: int = 0
) -> Int64Array:
    """Read int64 N, 0 to ``classes`` - 1, from a file with one axis, plain or gzip. The file counts
    the classes from ``first``. Raises ``DataError`` for any other label."""
    labels_N = _read(path, _Wanted((count,), "labels"))
    return from_zero(labels_N, range(first, first + classes), path)


def read_first_column(path: Path, classes: int, shape: tuple[int, int]) -> Int64Array:
    """Read the first of the 32-bit integers that a file with two axes has for each image, int64 N.
    Each must be 0 to ``classes`` - 1."""
    numbers_NC = _read(path, _Wanted(shape, "labels", _INTEGER))
    return from_zero(numbers_NC[:, 0], range(classes), path)


def read_any(path: Path, axes: int, what: str, most: int) -> UInt8Array:
    """Read uint8 with this many axes of any length. Raises ``DataError`` as ``read_images`` does,
    and if the header announces more than ``most`` bytes."""
    return _read(path, _Wanted((None,) * axes, what, most=most))


def _read(path: Path | Member, wanted: _Wanted) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if not packed:
                return _parse(plain, path, wanted)
            with gzip.GzipFile(fileobj=plain) as unpacked:
                return _parse(unpacked, path, wanted)  # type: ignore[arg-type]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: damaged gzip data: {error}. Fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(stream: IO[bytes], path: Path | Member, wanted: _Wanted) -> npt.NDArray[Any]:
    axes, what, dtype = len(wanted.lengths), wanted.what, _DTYPES[wanted.kind]
    header = stream.read(4 + 4 * axes)
    magic = bytes([0, 0, wanted.kind, axes])
    if header[:4] != magic:
        raise DataError(
            f"{path}: not an IDX file of {what}: wanted the bytes {magic.hex(' ')} first, "
            f"got {header[:4].hex(' ') or 'an empty file'}"
        )
    if len(header) < 4 + 4 * axes:
        raise DataError(f"{path}: its header is truncated")
    lengths = tuple(int.from_bytes(header[4 + 4 * i : 8 + 4 * i]) for i in range(axes))
    for length, want in zip(lengths, wanted.lengths, strict=True):
        if want is not None and length != want:
            text = "×".join("N" if w is None else str(w) for w in wanted.lengths)
            raise DataError(
                f"{path}: the header says {'×'.join(map(str, lengths))} {what}, wanted {text}"
            )
    size, most = math.prod(lengths) * dtype.itemsize, wanted.most
    if most is not None and size > most:
        raise DataError(
            f"{path}: the header promises {size:,} bytes of {what}; at most {most:,} are read"
        )
    # A header that is not checked may claim anything. So bytes are read as they come, at most one
    # more than announced, and a false header costs no memory.
    chunks, have = [], 0
    while have <= size and (chunk := stream.read(min(1 << 24, size + 1 - have))):
        chunks.append(chunk)
        have += len(chunk)
    if have != size:
        how = "cut short" if have < size else "longer than its header says"
        came = f"{have:,}" if have < size else "more"
        raise DataError(f"{path}: {how}: wanted {size:,} bytes of {what}, got {came}")
    return np.frombuffer(bytearray().join(chunks), dtype=dtype).reshape(lengths)
