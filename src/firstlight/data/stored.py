"""Images that stay on disk, for example in a file of raw pixels, and are read on demand.

They are for sets larger than memory; the system's file cache keeps what fits. Axes: N images,
H height, W width, C channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import RawIOBase
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


_BYTES_AT_ONCE, _MOST_AT_ONCE = 2**23, 1000


def at_once(image_shape: tuple[int, ...]) -> int:
    """Return how many images of H×W×C to process together, so that intermediate results take some
    tens of megabytes, even for large images."""
    return min(_MOST_AT_ONCE, max(1, _BYTES_AT_ONCE // int(np.prod(image_shape))))


class ImagesOnDisk(ABC):
    """uint8 images N×H×W×C that are read on demand: indexing returns an array."""

    dtype = np.dtype(np.uint8)

    def __init__(self, image_shape: tuple[int, int, int], rows_N: npt.NDArray[np.int64]) -> None:
        """``rows_N``: the numbers of the images, in order."""
        self._image_shape, self._rows_N = image_shape, rows_N

    @abstractmethod
    def _read(self, rows: npt.NDArray[np.int64]) -> UInt8Array:
        """Return the images with these numbers."""

    @abstractmethod
    def _with(self, rows_N: npt.NDArray[np.int64]) -> Self:
        """Return other images of the same source."""

    @abstractmethod
    def _is_of(self, other: Self) -> bool:
        """Return whether both are images of one source."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, W, C."""
        return len(self._rows_N), *self._image_shape

    def take(self, indices: npt.NDArray[np.int64]) -> Self:
        """Return the chosen images in the given order, still on disk."""
        return self._with(self._rows_N[indices])

    def followed_by(self, other: Self) -> Self:
        """Return these images followed by those of another part of the same source."""
        assert self._is_of(other), "one source"
        return self._with(np.concatenate([self._rows_N, other._rows_N]))

    @property
    def ndim(self) -> int:
        """Always 4."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self._rows_N)

    def __getitem__(self, index: Any) -> UInt8Array:
        """Return the images of a number, a slice or an array of numbers; more indices may
        follow."""
        which, *rest = index if isinstance(index, tuple) else (index,)
        rows = self._rows_N[which]
        if np.ndim(rows) == 0:
            one: UInt8Array = self._read(np.array([rows]))[0]
            return one[tuple(rest)] if rest else one
        found = self._read(rows)
        return found[(slice(None), *rest)] if rest else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


class StoredImages(ImagesOnDisk):
    """uint8 images N×H×W×C in a file without a header."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int, int],
        rows_N: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """``shape`` is that of the whole file; ``rows_N`` are the images to use, in order.

        Raises ``OSError`` if the file does not exist, and ``ValueError`` if it is too short.
        """
        super().__init__(shape[1:], np.arange(shape[0]) if rows_N is None else rows_N)
        self.path, self._whole = path, shape
        self._size = int(np.prod(shape[1:]))
        if path.stat().st_size < shape[0] * self._size:
            raise ValueError(f"{path}: too short for {shape[0]} images of {shape[1:]}")

    def _with(self, rows_N: npt.NDArray[np.int64]) -> "StoredImages":
        return StoredImages(self.path, self._whole, rows_N)

    def _is_of(self, other: "StoredImages") -> bool:
        return (other.path, other._whole) == (self.path, self._whole)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredImages, (self.path, self._whole, self._rows_N)

    def _read(self, rows: npt.NDArray[np.int64]) -> UInt8Array:
        """Do one read for each run of consecutive rows in the file."""
        found = np.empty((len(rows), *self._whole[1:]), np.uint8)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        with self.path.open("rb", buffering=0) as file:
            for start, end in pairwise([0, *breaks.tolist(), len(rows)]):
                if end > start:
                    file.seek(int(rows[start]) * self._size)
                    self._fill(found[start:end], file)
        return found

    def _fill(self, target: UInt8Array, file: RawIOBase) -> None:
        """Fill the target. Raises ``OSError`` if the file has shrunk."""
        into = target.data.cast("B")
        while len(into):
            got = file.readinto(into)
            if not got:
                raise OSError(f"{self.path}: shorter than before; another program has changed it")
            into = into[got:]


class EncodedImages(ImagesOnDisk):
    """Images that are decoded on demand, because they are too many. They lie in shards, one after
    another."""

    @property
    @abstractmethod
    def digests(self) -> npt.NDArray[np.uint64]:
        """16 bytes for each image's file, N×2."""

    @property
    @abstractmethod
    def shard_of(self) -> npt.NDArray[np.int32]:
        """The number of each image's shard, N."""

    @abstractmethod
    def check_room(self, together: int) -> None:
        """Raise ``DataError`` if this many shards, read in turn, do not fit into the cache."""

    @abstractmethod
    def sample(self) -> UInt8Array:
        """Return some of the images as a sample of all."""

    @abstractmethod
    def ahead(self, batches: Sequence[npt.NDArray[np.int64]]) -> AbstractContextManager[None]:
        """Decode the images of these batches ahead, in this order, inside this context. Other
        images can be read too."""
