"""CIFAR-10 files: the binary version, its archive, and the pickled version without unpickling.

A binary batch is 10,000 records of one label byte and 3,072 pixel bytes: the red plane, the green,
the blue, each 32 rows of 32.
"""

import hashlib
import pickletools
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from firstlight.data.dataset import Int64Array, UInt8Array
from firstlight.errors import DataError

BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCH = "test_batch"
IMAGES_A_BATCH = 10_000
_PLANES = 3 * 32 * 32
_CLASSES = 10

# Published with the python version's archive.
PICKLE_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

Batch = tuple[UInt8Array, Int64Array]


def read_binary(path: Path, images: int = IMAGES_A_BATCH) -> Batch:
    """Images N×32×32×3 and labels N of one ``.bin`` file; ``DataError`` names what is wrong."""
    size, wanted = _size(path), images * (1 + _PLANES)
    if size != wanted:
        how = "cut short" if size < wanted else "too long"
        raise DataError(f"{path}: {how}: wanted {wanted:,} bytes ({images:,} images), got {size:,}")
    return parse_binary(_bytes(path), str(path))


def parse_binary(blob: bytes, name: str) -> Batch:
    """The same from the bytes of a batch; ``name`` opens the error message."""
    if len(blob) % (1 + _PLANES):
        raise DataError(f"{name}: {len(blob):,} bytes are no whole number of 3,073-byte images")
    records = np.frombuffer(blob, dtype=np.uint8).reshape(-1, 1 + _PLANES)
    return _as_images(records[:, 1:]), _checked(records[:, 0].astype(np.int64), name)


def read_archive(path: Path) -> dict[str, Batch]:
    """All six batches, by name, out of ``cifar-10-binary.tar.gz``."""
    found: dict[str, Batch] = {}
    for stem, blob in archive_members(path):
        if len(blob) != IMAGES_A_BATCH * (1 + _PLANES):
            raise DataError(f"{path}: {stem}.bin in it is {len(blob):,} bytes long")
        found[stem] = parse_binary(blob, f"{path}: {stem}.bin")
    missing = [b for b in (*BATCHES, TEST_BATCH) if b not in found]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)} missing in the archive")
    return found


def archive_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(batch name, bytes) of each batch in the archive; no other member is looked at."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                stem = Path(member.name).name.removesuffix(".bin")
                if stem in (*BATCHES, TEST_BATCH) and member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None, "regular files can be read"
                    yield stem, file.read(IMAGES_A_BATCH * (1 + _PLANES) + 1)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged archive: {error}; fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def read_pickled(path: Path, md5: str, images: int = IMAGES_A_BATCH) -> Batch:
    """One batch of the python version, taken out of its pickle without running it.

    The file is believed only after its published ``md5`` matched. ``pickletools`` then lists the
    instructions, which executes none, and the pixels and labels are picked from their arguments.
    """
    if _size(path) > 2 * images * _PLANES + 1_000_000:
        raise DataError(f"{path}: {_size(path):,} bytes are too many for {images:,} images")
    blob = _bytes(path)
    have = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    if have != md5:
        raise DataError(
            f"{path}: not the published file: wanted md5 {md5}, got {have}; "
            "delete it, or fetch the binary version: firstlight data fetch cifar10"
        )
    pixels, labels = _pickled_arguments(blob, images)
    if len(pixels) != images * _PLANES or len(labels) != images:
        raise DataError(f"{path}: no pixels and labels of {images:,} images found in it")
    planes = np.frombuffer(pixels, dtype=np.uint8).reshape(images, _PLANES)
    return _as_images(planes), _checked(np.array(labels, dtype=np.int64), str(path))


def _pickled_arguments(blob: bytes, images: int) -> tuple[bytes, list[int]]:
    """The long byte string, and the integers listed after the key ``labels``."""
    pixels, labels, in_labels = b"", [], False
    for opcode, argument, _ in pickletools.genops(blob):
        if isinstance(argument, str | bytes):
            text = argument.encode("latin-1") if isinstance(argument, str) else argument
            in_labels = text == b"labels"
            if len(text) == images * _PLANES:
                pixels = text
        elif in_labels and opcode.name in ("BININT", "BININT1", "BININT2", "INT", "LONG1"):
            assert isinstance(argument, int)
            labels.append(argument)
    return pixels, labels


def _as_images(planes_NP: UInt8Array) -> UInt8Array:
    """N×32×32×3, contiguous, from N×3,072 bytes of colour planes."""
    images_NPC = np.empty((len(planes_NP), 32 * 32, 3), dtype=np.uint8)
    for channel in range(3):  # plane by plane is several times faster than one transpose
        images_NPC[:, :, channel] = planes_NP[:, 1024 * channel : 1024 * (channel + 1)]
    return images_NPC.reshape(-1, 32, 32, 3)


def _checked(labels_N: Int64Array, name: str) -> Int64Array:
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < _CLASSES:
        wrong = np.flatnonzero((labels_N < 0) | (labels_N >= _CLASSES))[0]
        raise DataError(
            f"{name}: label {labels_N[wrong]} at image {wrong}; labels must be 0 to {_CLASSES - 1}"
        )
    return labels_N


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
