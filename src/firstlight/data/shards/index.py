"""The index of a shard: the position of each image. It is built once and cached.

Axes: N images.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.formats import START, is_picture
from firstlight.files import write_whole

Int64Array = npt.NDArray[np.int64]
EDITION = 1
"""Increased with every change of an index's content."""
NO_LABEL = -1
_SUM = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardIndex:
    """The positions of a shard's images, in order."""

    offsets_N: Int64Array
    """The first byte of each image's file in the shard's copy on this machine."""
    lengths_N: npt.NDArray[np.uint32]
    digests_N2: npt.NDArray[np.uint64]
    """The 16-byte BLAKE2 hash of each image's file."""
    labels_N: npt.NDArray[np.int32]
    """Index into ``values``; ``NO_LABEL`` for an image without a label."""
    values: tuple[int | str, ...]
    """The sorted labels as in the shard: numbers or names."""
    pictures_N: npt.NDArray[np.bool_]
    """Whether each file begins like a picture."""
    keys: tuple[str, ...]
    """The name of each image."""
    class_names: tuple[str, ...] = ()
    """What the numbers mean, if the shard says so."""

    def __len__(self) -> int:
        return len(self.offsets_N)

    def to_bytes(self) -> bytes:
        """Return bytes for the cache: a SHA-256 of 32 bytes, then an ``.npz`` without pickles."""
        about = {
            "edition": EDITION,
            "values": self.values,
            "keys": self.keys,
            "class_names": self.class_names,
        }
        out = io.BytesIO()
        np.savez(
            out,
            offsets=self.offsets_N,
            lengths=self.lengths_N,
            digests=self.digests_N2.astype(">u8"),
            labels=self.labels_N,
            pictures=self.pictures_N,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        )
        return hashlib.sha256(out.getvalue()).digest() + out.getvalue()

    @classmethod
    def from_bytes(cls, blob: bytes) -> "ShardIndex | None":
        """Read what ``to_bytes`` returned; None for anything else."""
        if hashlib.sha256(blob[_SUM:]).digest() != blob[:_SUM]:
            return None
        with np.load(io.BytesIO(blob[_SUM:]), allow_pickle=False) as arrays:
            about: dict[str, Any] = json.loads(arrays["about"].tobytes())
            if about["edition"] != EDITION:
                return None
            return cls(
                offsets_N=arrays["offsets"],
                lengths_N=arrays["lengths"],
                digests_N2=arrays["digests"].astype(np.uint64),
                labels_N=arrays["labels"],
                pictures_N=arrays["pictures"],
                values=tuple(about["values"]),
                keys=tuple(about["keys"]),
                class_names=tuple(about["class_names"]),
            )


def sortable(label: int | str) -> tuple[int, str]:
    """Return the sort key of a label: numbers by value, names alphabetically."""
    return (label, "") if isinstance(label, int) else (0, label)


class IndexMaker:
    """Collects the content of a shard, image after image."""

    def __init__(self) -> None:
        self._offsets, self._lengths = list[int](), list[int]()
        self._digests, self._keys = bytearray(), list[str]()
        self._labels, self._pictures = list[int | str | None](), list[bool]()

    def add(self, key: str, offset: int, content: bytes, label: int | str | None) -> None:
        """Add the next image."""
        self._keys.append(key)
        self._offsets.append(offset)
        self._lengths.append(len(content))
        self._digests += hashlib.blake2b(content, digest_size=16).digest()
        self._labels.append(label)
        self._pictures.append(is_picture(content[:START]))

    def made(self, class_names: tuple[str, ...] = ()) -> ShardIndex:
        """Return the index of all images. Their labels must be all numbers or all names."""
        values = sorted({one for one in self._labels if one is not None}, key=sortable)
        number = {value: at for at, value in enumerate(values)}
        labels = [NO_LABEL if one is None else number[one] for one in self._labels]
        return ShardIndex(
            offsets_N=np.array(self._offsets, np.int64),
            lengths_N=np.array(self._lengths, np.uint32),
            digests_N2=np.frombuffer(self._digests, ">u8").reshape(-1, 2).astype(np.uint64),
            labels_N=np.array(labels, np.int32),
            pictures_N=np.array(self._pictures, bool),
            values=tuple(values),
            keys=tuple(self._keys),
            class_names=class_names,
        )


def read_index(path: Path) -> ShardIndex | None:
    """Return the cached index, if it is complete."""
    try:
        return ShardIndex.from_bytes(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_index(path: Path, index: ShardIndex) -> None:
    """Write an index, whole or not at all. Raises ``OSError``."""
    write_whole(path, index.to_bytes())
