"""Images that stay encoded in their shards and are decoded on demand.

Axes: N images, B images of a batch, H height, W width, C channels, S shards.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.pictures import PictureSource, prepare
from firstlight.data.shards.held import check_room, shards_ahead, shelf
from firstlight.data.shards.set import ShardSet
from firstlight.data.stored import EncodedImages, UInt8Array
from firstlight.errors import DataError, UserError
from firstlight.files import write_whole
from firstlight.pixels import Preprocess
from firstlight.threads import usable_threads

Int64Array = npt.NDArray[np.int64]
Shape = tuple[int, int, int]

_CHUNK = 32
"""Images that a thread decodes at a time."""
_AHEAD_BYTES = 64 << 20
"""The limit for decoded images that wait for their step."""
_MOST_AHEAD = 8
"""Batches."""
AHEAD = 8
"""Shards that are fetched ahead, if the cache has room for twice as many."""


def as_is(image_shape: Shape) -> Preprocess:
    """Return the preparation that makes images of this shape and does nothing else."""
    height, width, channels = image_shape
    return Preprocess(
        height=height,
        width=width,
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


class ShardImages(EncodedImages):
    """uint8 images N×H×W×C of a set of shards, decoded on demand on all cores."""

    def __init__(self, shards: ShardSet, fit: Preprocess, rows_N: Int64Array) -> None:
        """``fit``: how ``prepare`` makes the images; ``as_is`` for training."""
        super().__init__(fit.image_shape, rows_N)
        self.shards, self._fit = shards, fit
        self._ahead: _Ahead | None = None

    def _with(self, rows_N: Int64Array) -> "ShardImages":
        return ShardImages(self.shards, self._fit, rows_N)

    def _is_of(self, other: "ShardImages") -> bool:
        return other.shards is self.shards and other._fit == self._fit

    @property
    def digests(self) -> npt.NDArray[np.uint64]:
        """The hash of each image's file."""
        return self.shards.digests_N2[self._rows_N]

    @property
    def shard_of(self) -> npt.NDArray[np.int32]:
        """The number of each image's shard, N."""
        return self.shards.shard_N[self._rows_N]

    def check_room(self, together: int) -> None:
        """Raise ``DataError`` if this many shards, read in turn, do not fit into the cache."""
        files = [self.shards.files[shard] for shard in np.unique(self.shard_of).tolist()]
        check_room(files, together)

    def names(self) -> list[str]:
        """Return each image's shard and key, from the index."""
        return self.shards.names(self._rows_N)

    def sample(self) -> UInt8Array:
        """Return up to ``SAMPLE`` images from a few shards as a sample of all. It is cached."""
        rows = self.shards.sampled(self._rows_N)
        text = f"{self.shards.key} {self._fit}".encode() + rows.tobytes()
        place = shelf() / f"{hashlib.blake2b(text, digest_size=20).hexdigest()}.sample"
        if (found := _read_sample(place, (len(rows), *self._image_shape))) is None:
            found = self._decoded(self._decoding(rows), len(rows))
            with suppress(OSError):
                write_whole(place, hashlib.sha256(found.tobytes()).digest() + found.tobytes())
        return found

    def _read(self, rows: Int64Array) -> UInt8Array:
        if self._ahead is not None:
            found = self._ahead.take(rows)
            if found is not None:
                return found
        return self._decoded(self._decoding(rows), len(rows))

    def _decoding(self, rows: Int64Array) -> "list[Future[UInt8Array]]":
        """Start decoding the images in threads, in chunks."""
        pool = decoders()
        return [
            pool.submit(self._decode, rows[start : start + _CHUNK])
            for start in range(0, len(rows), _CHUNK)
        ]

    def _decoded(self, parts: "list[Future[UInt8Array]]", count: int) -> UInt8Array:
        found = np.empty((count, *self._image_shape), np.uint8)
        start = 0
        for part in parts:
            images = part.result()
            found[start : start + len(images)] = images
            start += len(images)
        return found

    def _decode(self, rows: Int64Array) -> UInt8Array:
        """Decode the images. Raises ``DataError``, which names shard and key, if one cannot be
        read."""
        found = np.empty((len(rows), *self._image_shape), np.uint8)
        for at, row in enumerate(rows.tolist()):
            source = PictureSource(name="image", content=self.shards.image(row))
            try:
                found[at] = prepare(source, self._fit).image_HWC
            except DataError as error:
                raise self._named(row, error) from error
        return found

    def _named(self, row: int, error: DataError) -> DataError:
        """Return the error with the image's name and what to do."""
        why = str(error)
        if not why.startswith("image: "):
            return error  # about the shard
        (name,) = self.shards.names(np.array([row]))
        return DataError(
            f"{name}: {why.removeprefix('image: ')}. To leave it out, list it in a CSV with the "
            "heading path, and train again with --fixes FILE.csv"
        )

    @contextmanager
    def ahead(self, batches: Sequence[Int64Array]) -> Iterator[None]:
        """Decode the images of these batches ahead, in this order, inside this context. Other
        images can be read too."""
        self._ahead = _Ahead(self, [self._rows_N[batch] for batch in batches])
        try:
            yield
        finally:
            self._ahead.drop()
            self._ahead = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardImages, (self.shards, self._fit, self._rows_N)


def _read_sample(place: Path, shape: tuple[int, ...]) -> UInt8Array | None:
    """Return the cached images, if they are complete."""
    try:
        blob = place.read_bytes()
    except OSError:
        return None
    if len(blob) != 32 + int(np.prod(shape)) or hashlib.sha256(blob[32:]).digest() != blob[:32]:
        return None
    return np.frombuffer(blob, np.uint8, offset=32).reshape(shape)


class _Ahead:
    """The next batches, some of them being decoded."""

    def __init__(self, images: ShardImages, batches: Sequence[Int64Array]) -> None:
        self._images = images
        self._next = deque(batches)
        self._begun: deque[tuple[Int64Array, list[Future[UInt8Array]]]] = deque()
        of_image = int(np.prod(images.shape[1:]))
        largest = max((len(one) for one in batches), default=1)
        self._most = max(1, min(_MOST_AHEAD, _AHEAD_BYTES // max(1, largest * of_image)))
        self._fetching = _Fetching.of(images.shards, batches)
        self._fill()

    def _fill(self) -> None:
        while self._next and len(self._begun) < self._most:
            rows = self._next.popleft()
            if self._fetching is not None:
                self._fetching.reached(rows)
            self._begun.append((rows, self._images._decoding(rows)))

    def take(self, rows: Int64Array) -> UInt8Array | None:
        """Return the images of the next batch, if it is this one."""
        if not self._begun or not np.array_equal(self._begun[0][0], rows):
            return None
        _, parts = self._begun.popleft()
        self._fill()
        return self._images._decoded(parts, len(rows))

    def drop(self) -> None:
        """Stop decoding."""
        if self._fetching is not None:
            self._fetching.end()
        self._next.clear()
        for _, parts in self._begun:
            for part in parts:
                part.cancel()
        self._begun.clear()


class _Fetching:
    """Fetches missing shards in a thread, some ahead of their use."""

    def __init__(self, shards: ShardSet, order: list[int], ahead: int) -> None:
        """``order``: the shards in the order in which they are first read."""
        self._shards, self._order, self._ahead = shards, order, ahead
        self._place = {shard: place for place, shard in enumerate(order)}
        self._wanted, self._ended = threading.Semaphore(ahead), False
        self._reached = -1
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, shards: ShardSet, batches: Sequence[Int64Array]) -> "_Fetching | None":
        """Return None if all shards are here, or if the cache has no room for more."""
        ahead = shards_ahead(shards.files, AHEAD)
        if not ahead or not batches:
            return None
        shard_M = shards.shard_N[np.concatenate(batches)]
        numbers, first = np.unique(shard_M, return_index=True)
        return cls(shards, numbers[first.argsort()].tolist(), ahead)

    def reached(self, rows: Int64Array) -> None:
        """Note that these images are read now."""
        place = max(self._place[shard] for shard in self._shards.shard_N[rows].tolist())
        for _ in range(place - self._reached):
            self._wanted.release()
        self._reached = max(self._reached, place)

    def end(self) -> None:
        """Stop fetching."""
        self._ended = True
        self._wanted.release()

    def _run(self) -> None:
        for shard in self._order:
            self._wanted.acquire()
            if self._ended:
                return
            try:
                self._shards.held.fetch(shard)
            except UserError:  # reading the shard reports it
                return


_pool: ThreadPoolExecutor | None = None
_making = threading.Lock()


def decoders() -> ThreadPoolExecutor:
    """Return the threads that decode, one for each core."""
    global _pool
    with _making:
        if _pool is None:
            _pool = ThreadPoolExecutor(usable_threads(), thread_name_prefix="decode")
        return _pool
