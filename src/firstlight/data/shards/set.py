"""All images of a set of shards, by their positions. An image takes about 34 bytes in memory.

Axes: N images, S shards.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from firstlight.data.pictures import PictureSource
from firstlight.data.shards.files import ShardFile, ShardFiles
from firstlight.data.shards.held import HeldShards, index_of, index_place, shelf
from firstlight.data.shards.index import NO_LABEL, ShardIndex
from firstlight.data.shards.labels import labels_of
from firstlight.data.split import TRAIN, part_in_name
from firstlight.errors import DataError

Int64Array = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

_SAMPLED_SHARDS, SAMPLE = 8, 1024
"""How many shards and images are a sample of all, if all would have to be decoded."""


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """The file of one image in a shard."""

    shards: HeldShards
    shard: int
    offset: int
    length: int
    digest: bytes
    """The 16-byte BLAKE2 hash of the file."""

    def read_bytes(self) -> bytes:
        """Read the whole file. Raises ``DataError`` if it is not what was indexed."""
        content = self.shards.read(self.shard, self.offset, self.length)
        if hashlib.blake2b(content, digest_size=16).digest() != self.digest:
            self.shards.forget(self.shard)
            raise DataError(
                f"{self.shards.files[self.shard].name}: its bytes from {self.offset:,} on differ "
                "from those that were indexed: it is damaged or was changed. Get a new copy and "
                "start again"
            )
        return content


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardSet:
    """An ordered sequence of encoded images with keys and optional labels: shard after shard, each
    in its own order."""

    word: str
    """The user's name for it."""
    held: HeldShards
    ends_S: Int64Array
    """How many images there are up to the end of each shard."""
    shard_N: npt.NDArray[np.int32]
    offsets_N: Int64Array
    lengths_N: npt.NDArray[np.uint32]
    digests_N2: npt.NDArray[np.uint64]
    """The 16-byte BLAKE2 hash of each image's file."""
    labels_N: Int64Array
    """Index into ``class_names``; ``NO_LABEL`` for an image without a label."""
    pictures_N: npt.NDArray[np.bool_]
    """Whether each image's file begins like a picture."""
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """Messages: what was left out of the files."""
    origin: str = ""
    """Where they came from, if that should be shown."""

    def __len__(self) -> int:
        return len(self.shard_N)

    @property
    def files(self) -> tuple[ShardFile, ...]:
        """The shards."""
        return self.held.files

    @cached_property
    def shard_names(self) -> tuple[str, ...]:
        """A unique short name of each shard, without what the names have in common."""
        folders = {one.name.rpartition("/")[0] for one in self.files}
        common = os.path.commonpath(folders) if len(folders) > 1 else folders.pop()
        return tuple(one.name[len(common) :].lstrip("/") for one in self.files)

    def parts(self) -> tuple[str, ...]:
        """The part of each shard, by its name or its folder's: ``train``, ``validation``, ``test``
        or empty. Empty for all if none is ``train``."""
        both = zip(self.files, self.shard_names, strict=True)
        parts = [file.part or _part(name) for file, name in both]
        return tuple(parts if TRAIN in parts else [""] * len(parts))

    def rows_of(self, shard: int) -> range:
        """Return the numbers of a shard's images."""
        start = 0 if shard == 0 else int(self.ends_S[shard - 1])
        return range(start, int(self.ends_S[shard]))

    def keys(self, shard: int) -> tuple[str, ...]:
        """Return the names of a shard's images in order, from the index."""
        return index_of(self.files[shard]).keys

    def names(self, rows: Int64Array) -> list[str]:
        """Return the shard and key of each of these images."""
        found = dict[int, str]()
        for shard in np.unique(self.shard_N[rows]).tolist():
            keys, first = self.keys(shard), self.rows_of(shard).start
            for row in np.unique(rows[self.shard_N[rows] == shard]).tolist():
                found[row] = f"{self.shard_names[shard]}/{keys[row - first]}"
        return [found[row] for row in rows.tolist()]

    def chunks(self, size: int) -> Iterator[Int64Array]:
        """Yield the numbers of all images in order, at most ``size`` at a time, never of two shards
        at once. The chunks depend only on the shards and ``size``."""
        for shard in range(len(self.files)):
            rows = self.rows_of(shard)
            for start in range(rows.start, rows.stop, size):
                yield np.arange(start, min(start + size, rows.stop))

    def sources(self, rows: Int64Array) -> list[PictureSource]:
        """Return these images with their names. They are decoded when they are read."""
        return [
            PictureSource(name=name, content=self.image(row))
            for name, row in zip(self.names(rows), rows.tolist(), strict=True)
        ]

    @property
    def is_labelled(self) -> bool:
        """Whether any image has a label."""
        return bool((self.labels_N != NO_LABEL).any())

    def labels(self, rows: Int64Array) -> list[str | None]:
        """Return the class of each of these images, if it has one."""
        return [
            None if label == NO_LABEL else self.class_names[label]
            for label in self.labels_N[rows].tolist()
        ]

    @cached_property
    def fingerprint(self) -> str:
        """40 hex digits that identify the images with their keys and labels, wherever the shards
        are stored."""
        digest = hashlib.blake2b(digest_size=20)
        for shard, name in enumerate(self.shard_names):
            digest.update(json.dumps([name, self.keys(shard)]).encode())
        digest.update(json.dumps(self.class_names).encode())
        digest.update(self.labels_N.tobytes())
        digest.update(self.digests_N2.tobytes())
        return digest.hexdigest()

    @cached_property
    def key(self) -> str:
        """40 hex digits that identify the shards' current content."""
        keys = " ".join(file.key for file in self.files)
        return hashlib.blake2b(keys.encode(), digest_size=20).hexdigest()

    def sampled(self, rows_N: Int64Array) -> Int64Array:
        """Return up to ``SAMPLE`` of these images, evenly spaced in a few shards, so that few
        shards are fetched."""
        there = np.unique(self.shard_N[rows_N])
        some = there[np.linspace(0, len(there) - 1, min(_SAMPLED_SHARDS, len(there))).astype(int)]
        rows_N = rows_N[np.isin(self.shard_N[rows_N], some)]
        count = min(SAMPLE, len(rows_N))
        return rows_N[np.arange(count) * len(rows_N) // max(1, count)]

    def image(self, row: int) -> EncodedImage:
        """Return the file of one image."""
        return EncodedImage(
            shards=self.held,
            shard=int(self.shard_N[row]),
            offset=int(self.offsets_N[row]),
            length=int(self.lengths_N[row]),
            digest=self.digests_N2[row].astype(">u8").tobytes(),
        )


def _part(name: str) -> str:
    *folders, file = name.split("/")
    words = [part_in_name(folder) for folder in folders]
    inner = next((word.part for word in reversed(words) if word.is_exact), "")
    return part_in_name(file.rpartition(".")[0]).part or inner


def open_shards(found: ShardFiles, progress: Progress | None = None) -> ShardSet:
    """Open the set of these shards. Missing indexes are built and cached.

    ``progress`` receives how many shards are indexed. Raises ``DataError`` for shards that are
    damaged, have no images, or have labels of two kinds.
    """
    try:
        indexes, new = list[ShardIndex](), False
        for number, file in enumerate(found.files):
            new = new or not index_place(file).exists()
            if new and progress is not None:
                progress(number, len(found.files))
            indexes.append(replace(index_of(file), keys=()))
        if new and progress is not None:
            progress(len(found.files), len(found.files))
    except OSError as error:
        raise DataError(
            f"{shelf()}: indexes cannot be stored there: {error.strerror}. Free some disk space, "
            "or set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    if not any(len(index) for index in indexes):
        raise DataError(
            f"{found.word}: no image in {'it' if len(indexes) == 1 else 'any of these shards'}; "
            "wanted members such as 0001.jpg with 0001.cls, or a column image"
        )
    class_names, labels = labels_of(found, indexes)
    counts_S = np.array([len(index) for index in indexes], np.int64)
    return ShardSet(
        word=found.word,
        held=HeldShards(found.files),
        ends_S=counts_S.cumsum(),
        shard_N=np.repeat(np.arange(len(indexes), dtype=np.int32), counts_S),
        offsets_N=np.concatenate([index.offsets_N for index in indexes]),
        lengths_N=np.concatenate([index.lengths_N for index in indexes]),
        digests_N2=np.concatenate([index.digests_N2 for index in indexes]),
        labels_N=np.concatenate(labels),
        pictures_N=np.concatenate([index.pictures_N for index in indexes]),
        class_names=class_names,
        notes=found.notes,
        origin=found.origin,
    )
