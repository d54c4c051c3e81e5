"""CIFAR files: the binary version, its archive, and the pickled version without unpickling.

A binary batch is a sequence of records. Each has the label bytes, the last of which is the class,
and 3,072 pixel bytes: the red, green and blue planes, each 32 rows of 32.
"""

import hashlib
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firstlight.data.dataset import Int64Array, UInt8Array
from firstlight.data.exact import from_zero, read_exactly, tar_members
from firstlight.errors import DataError

_PLANES = 3 * 32 * 32
Batch = tuple[UInt8Array, Int64Array]


class Layout(NamedTuple):
    """The differences between the two sets."""

    name: str
    """The set's name, for messages."""
    classes: int
    label_bytes: int
    """Label bytes before the pixels of an image."""
    key: bytes
    """The key of the labels in a pickle."""

    @property
    def record(self) -> int:
        """Bytes of one image with its labels."""
        return self.label_bytes + _PLANES


CIFAR10_LAYOUT = Layout(name="cifar10", classes=10, label_bytes=1, key=b"labels")
CIFAR100_LAYOUT = Layout(name="cifar100", classes=100, label_bytes=2, key=b"fine_labels")


def read_binary(path: Path, images: int, layout: Layout) -> Batch:
    """Read images N×32×32×3 and labels N from a ``.bin`` file. Raises ``DataError``."""
    blob = read_exactly(path, images * layout.record, f"{images:,} images")
    return _parsed(blob, str(path), layout)


def read_archive(path: Path, counts: Mapping[str, int], layout: Layout) -> dict[str, Batch]:
    """Read the batches, by name, from the archive of the binary version. ``counts`` says how many
    images each has."""
    return {
        name.removesuffix(".bin"): _parsed(blob, f"{path}: {name}", layout)
        for name, blob in tar_members(path, binary_sizes(counts, layout))
    }


def binary_sizes(counts: Mapping[str, int], layout: Layout) -> dict[str, int]:
    """Return the sizes in bytes of the binary version's files, by name."""
    return {f"{batch}.bin": count * layout.record for batch, count in counts.items()}


def _parsed(blob: bytes, name: str, layout: Layout) -> Batch:
    records = np.frombuffer(blob, dtype=np.uint8).reshape(-1, layout.record)
    labels_N = from_zero(records[:, layout.label_bytes - 1], range(layout.classes), name)
    return _as_images(records[:, layout.label_bytes :]), labels_N


def read_pickled(path: Path, md5: str, images: int, layout: Layout) -> Batch:
    """Read one batch of the Python version from its pickle without executing it.

    The file is used only if it has the published ``md5``. ``pickletools`` then lists the
    instructions without executing them, and the pixels and labels come from their arguments.
    """
    try:
        size = path.stat().st_size
        if size > 2 * images * _PLANES + 1_000_000:
            raise DataError(f"{path}: {size:,} bytes is too many for {images:,} images")
        blob = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    have = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    if have != md5:
        raise DataError(
            f"{path}: not the published file: wanted md5 {md5}, got {have}; "
            f"delete it, or fetch the binary version: firstlight data fetch {layout.name}"
        )
    pixels, labels = _pickled_arguments(blob, images, layout.key)
    if len(pixels) != images * _PLANES or len(labels) != images:
        raise DataError(f"{path}: does not contain the pixels and labels of {images:,} images")
    planes = np.frombuffer(pixels, dtype=np.uint8).reshape(images, _PLANES)
    return _as_images(planes), from_zero(np.array(labels), range(layout.classes), path)


def _pickled_arguments(blob: bytes, images: int, key: bytes) -> tuple[bytes, list[int]]:
    """Return the long byte string, and the integers listed after the key."""
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
    """Convert N×3,072 bytes of colour planes to contiguous N×32×32×3."""
    images_NPC = np.empty((len(planes_NP), 32 * 32, 3), dtype=np.uint8)
    for channel in range(3):  # plane by plane is several times faster than one transpose
        images_NPC[:, :, channel] = planes_NP[:, 1024 * channel : 1024 * (channel + 1)]
    return images_NPC.reshape(-1, 32, 32, 3)
