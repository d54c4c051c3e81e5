"""Write a set of images as tar shards: always the same bytes, whole or not at all."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from firstlight.data.formats import START, ending_of
from firstlight.data.listing import class_name
from firstlight.data.split import PARTS
from firstlight.errors import DataError
from firstlight.files import new_folder

SHARD_BYTES = 100 * 10**6
"""The largest size of a shard. An image that is larger has its own shard."""
IMAGES = "images"
"""The name of shards without a part."""
_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK + tarfile.RECORDSIZE
"""The end of a tar takes at most this many bytes."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """The images to pack, by number."""

    class_names: tuple[str, ...]
    labels: Sequence[int]
    parts: Sequence[str]
    """``train``, ``validation``, ``test``, or empty."""
    digests: Sequence[bytes]
    """They decide the order in the shards, so every shard has a mix of images."""
    read: Callable[[int], bytes]
    """Returns the file of one image; empty to leave it out."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written."""

    shards: tuple[str, ...]
    images: int
    left_out: int
    bytes: int


def write_shards(images: Labelled, to: Path, progress: Progress | None = None) -> Written:
    """Pack images into ``to``: ``train-000000.tar`` and so on, and ``classes.txt``.

    Raises ``UserError`` if ``to`` exists and is not empty, and ``DataError`` if the disk is full;
    then nothing is left behind.
    """
    with new_folder(to) as work:
        return _write(images, work, progress)


def _write(images: Labelled, folder: Path, progress: Progress | None) -> Written:
    _write_names(images.class_names, folder)
    rank = {part: place for place, part in enumerate(PARTS)}
    order = sorted(
        range(len(images.labels)),
        key=lambda at: (rank.get(images.parts[at], -1), images.digests[at], images.labels[at]),
    )
    shards, left, done = list[Path](), 0, 0
    with ExitStack() as opened:
        for part, numbers in groupby(order, key=lambda at: images.parts[at]):
            shard, number = _Shard(folder, part or IMAGES, 0, opened), 0
            for at in numbers:
                content = images.read(at)
                done += 1
                if not content:
                    left += 1
                    continue
                if not shard.takes(content):
                    shards.append(shard.closed())
                    shard = _Shard(folder, part or IMAGES, shard.number + 1, opened)
                shard.add(f"{number:08d}", content, images.labels[at])
                number += 1
                if progress is not None:
                    progress(done, len(order))
            shards.append(shard.closed())
    if left == len(order):
        raise DataError("none of the pictures can be read, so there is nothing to pack")
    return Written(
        shards=tuple(shard.name for shard in shards),
        images=len(order) - left,
        left_out=left,
        bytes=sum(shard.stat().st_size for shard in shards),
    )


def _write_names(names: Sequence[str], folder: Path) -> None:
    """Write ``classes.txt``, or ``classes.json`` if a name cannot be read back from a line."""
    plain = all(class_name(name.strip()) == name and len(name.splitlines()) == 1 for name in names)
    if plain:
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    else:
        (folder / "classes.json").write_text(json.dumps(list(names)), "utf-8")


class _Shard:
    """A tar file that is being written."""

    def __init__(self, folder: Path, stem: str, number: int, opened: ExitStack) -> None:
        """``opened`` closes the file if it was not closed before."""
        self.number, self._size = number, 0
        self._path = folder / f"{stem}-{number:06d}.tar"
        file = opened.enter_context(self._path.open("wb"))
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
        self._file = file

    def takes(self, content: bytes) -> bool:
        """Return whether one more image fits into ``SHARD_BYTES``."""
        return self._size == 0 or self._size + _room(content) + _END <= SHARD_BYTES

    def add(self, key: str, content: bytes, label: int) -> None:
        """Add an image and its label."""
        self._member(f"{key}{ending_of(content[:START])}", content)
        self._member(f"{key}.cls", str(label).encode())
        self._size += _room(content)

    def _member(self, name: str, content: bytes) -> None:
        one = tarfile.TarInfo(name)
        one.size = len(content)
        self._tar.addfile(one, io.BytesIO(content))
        self._tar.members.clear()  # type: ignore[attr-defined]

    def closed(self) -> Path:
        """Close the file and return its path."""
        self._tar.close()
        self._file.close()
        return self._path


def _room(content: bytes) -> int:
    """Return the bytes of an image and its label in a tar."""
    return 3 * _BLOCK + -(-len(content) // _BLOCK) * _BLOCK
