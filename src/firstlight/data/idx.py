"""IDX, the format MNIST is published in: a big-endian header, then the bytes of one array.

Two zero bytes, the type (8 is unsigned byte), the number of axes, one 32-bit length an axis, data.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from firstlight.data.dataset import Int64Array, UInt8Array
from firstlight.errors import DataError

_UNSIGNED_BYTE = 8


def read_images(path: Path, shape: tuple[int, int], count: int | None = None) -> UInt8Array:
    """uint8 N×H×W×1 from a file of three axes, plain or gzip.

    Raises ``DataError`` naming the file when the header is not that of ``count`` images of
    ``shape``, or when the bytes are not as many as it says. Nothing is allocated before the
    header is known to be right.
    """
    lengths = (count, *shape)
    return _read(path, lengths, "images")[..., None]


def read_labels(path: Path, classes: int, count: int | None = None) -> Int64Array:
    """int64 N from a file of one axis, plain or gzip; each label is checked to be below
    ``classes``."""
    labels_N = _read(path, (count,), "labels").astype(np.int64)
    if len(labels_N) and labels_N.max() >= classes:
        place = int(labels_N.argmax())
        raise DataError(
            f"{path}: label {labels_N[place]} at place {place}; labels must be 0 to {classes - 1}"
        )
    return labels_N


def read_any(path: Path, axes: int, what: str, most: int) -> UInt8Array:
    """uint8 of so many axes, whatever their lengths. Raises ``DataError`` as ``read_images`` does,
    and where the header promises more than ``most`` bytes."""
    return _read(path, (None,) * axes, what, most)


def _read(
    path: Path, wanted: tuple[int | None, ...], what: str, most: int | None = None
) -> UInt8Array:
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if not packed:
                return _parse(plain, path, wanted, what, most)
            with gzip.GzipFile(fileobj=plain) as unpacked:
                return _parse(unpacked, path, wanted, what, most)  # type: ignore[arg-type]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: damaged gzip data: {error}; fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(
    stream: BinaryIO, path: Path, wanted: tuple[int | None, ...], what: str, most: int | None
) -> UInt8Array:
    axes = len(wanted)
    header = stream.read(4 + 4 * axes)
    magic = bytes([0, 0, _UNSIGNED_BYTE, axes])
    if header[:4] != magic:
        raise DataError(
            f"{path}: not an IDX file of {what}: wanted the bytes {magic.hex(' ')} first, "
            f"got {header[:4].hex(' ') or 'an empty file'}"
        )
    if len(header) < 4 + 4 * axes:
        raise DataError(f"{path}: cut short in its header")
    lengths = tuple(int.from_bytes(header[4 + 4 * i : 8 + 4 * i]) for i in range(axes))
    for length, want in zip(lengths, wanted, strict=True):
        if want is not None and length != want:
            text = "×".join("N" if w is None else str(w) for w in wanted)
            raise DataError(
                f"{path}: the header says {'×'.join(map(str, lengths))} {what}, wanted {text}"
            )
    size = math.prod(lengths)
    if most is not None and size > most:
        raise DataError(
            f"{path}: the header promises {size:,} bytes of {what}; at most {most:,} are unpacked"
        )
    # A header without a wanted count may claim anything: bytes are taken as they come, one more
    # than due at the most, so that a lie costs no memory.
    chunks, have = [], 0
    while have <= size and (chunk := stream.read(min(1 << 24, size + 1 - have))):
        chunks.append(chunk)
        have += len(chunk)
    if have != size:
        how = "cut short" if have < size else "longer than its header says"
        came = f"{have:,}" if have < size else "more"
        raise DataError(f"{path}: {how}: wanted {size:,} bytes of {what}, got {came}")
    return np.frombuffer(bytearray().join(chunks), dtype=np.uint8).reshape(lengths)
