"""CIFAR files: the binary version, its archive, and the pickled version without unpickling.

A binary batch is one record after the other: the label bytes, of which the last is the class, and
3,072 pixel bytes: the red plane, the green, the blue, each 32 rows of 32.
"""

import hashlib
import pickletools
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firstlight.data.dataset import Int64Array, UInt8Array
from firstlight.errors import DataError

_PLANES = 3 * 32 * 32
Batch = tuple[UInt8Array, Int64Array]


class Layout(NamedTuple):
    """What differs between the two sets."""

    name: str
    """Of the set, for messages."""
    classes: int
    label_bytes: int
    """Before the pixels of an image."""
    key: bytes
    """The word before the labels in a pickle."""

    @property
    def record(self) -> int:
        """Bytes of an image with its labels."""
        return self.label_bytes + _PLANES


CIFAR10_LAYOUT = Layout(name="cifar10", classes=10, label_bytes=1, key=b"labels")
CIFAR100_LAYOUT = Layout(name="cifar100", classes=100, label_bytes=2, key=b"fine_labels")


def read_binary(path: Path, images: int, layout: Layout) -> Batch:
    """Images N×32×32×3 and labels N of one ``.bin`` file; ``DataError`` names what is wrong."""
    size, wanted = _size(path), images * layout.record
    if size != wanted:
        how = "cut short" if size < wanted else "too long"
        raise DataError(f"{path}: {how}: wanted {wanted:,} bytes ({images:,} images), got {size:,}")
    return parse_binary(_bytes(path), str(path), layout)


def parse_binary(blob: bytes, name: str, layout: Layout) -> Batch:
    """The same from the bytes of a batch; ``name`` opens the error message."""
    if len(blob) % layout.record:
        raise DataError(
            f"{name}: {len(blob):,} bytes are no whole number of {layout.record:,}-byte images"
        )
    records = np.frombuffer(blob, dtype=np.uint8).reshape(-1, layout.record)
    labels_N = records[:, layout.label_bytes - 1].astype(np.int64)
    return _as_images(records[:, layout.label_bytes :]), _checked(labels_N, name, layout)


def read_archive(path: Path, counts: Mapping[str, int], layout: Layout) -> dict[str, Batch]:
    """The batches, by name, out of the archive of the binary version. ``counts`` says how many
    images each has."""
    found: dict[str, Batch] = {}
    for stem, blob in archive_members(path, counts, layout):
        if len(blob) != counts[stem] * layout.record:
            raise DataError(f"{path}: {stem}.bin in it is {len(blob):,} bytes long")
        found[stem] = parse_binary(blob, f"{path}: {stem}.bin", layout)
    missing = [b for b in counts if b not in found]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)} missing in the archive")
    return found


def archive_members(
    path: Path, counts: Mapping[str, int], layout: Layout
) -> Iterator[tuple[str, bytes]]:
    """(batch name, bytes) of each batch in the archive; no other member is looked at."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                stem = Path(member.name).name.removesuffix(".bin")
                if stem in counts and member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None, "regular files can be read"
                    yield stem, file.read(counts[stem] * layout.record + 1)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged archive: {error}; fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def read_pickled(path: Path, md5: str, images: int, layout: Layout) -> Batch:
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
            f"delete it, or fetch the binary version: firstlight data fetch {layout.name}"
        )
    pixels, labels = _pickled_arguments(blob, images, layout.key)
    if len(pixels) != images * _PLANES or len(labels) != images:
        raise DataError(f"{path}: no pixels and labels of {images:,} images found in it")
    planes = np.frombuffer(pixels, dtype=np.uint8).reshape(images, _PLANES)
    return _as_images(planes), _checked(np.array(labels, dtype=np.int64), str(path), layout)


def _pickled_arguments(blob: bytes, images: int, key: bytes) -> tuple[bytes, list[int]]:
    """The long byte string, and the integers listed after the key."""
    pixels, labels, in_labels = b"", [], False
    for opcode, argument, _ in pickletools.genops(blob):
        if isinstance(argument, str | bytes):
            text = argument.encode("latin-1") if isinstance(argument, str) else argument
            in_labels = text == key
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


def _checked(labels_N: Int64Array, name: str, layout: Layout) -> Int64Array:
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < layout.classes:
        wrong = np.flatnonzero((labels_N < 0) | (labels_N >= layout.classes))[0]
        raise DataError(
            f"{name}: label {labels_N[wrong]} at image {wrong}; "
            f"labels must be 0 to {layout.classes - 1}"
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
