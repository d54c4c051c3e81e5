"""Millions of pictures to predict: files, or images in shards, in order."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from firstlight.data.asked import pictures_asked
from firstlight.data.levels import Range
from firstlight.data.pictures import PictureSource, printable_path
from firstlight.data.shards.files import find_all, names_shards
from firstlight.data.shards.set import Progress, open_shards
from firstlight.errors import DataError, UserError

Int64Array = npt.NDArray[np.int64]


class Pictures(Protocol):
    """An ordered sequence of pictures that are not decoded yet."""

    def __len__(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """40 hex digits that are the same for the same pictures, names and order."""
        ...

    @property
    def is_labelled(self) -> bool:
        """Whether the class of at least one picture is known."""
        ...

    def chunks(self, size: int) -> Iterator[Int64Array]:
        """Yield the numbers of all pictures in order, at most ``size`` at a time. The chunks are
        always the same."""
        ...

    def sources(self, rows: Int64Array) -> list[PictureSource]:
        """Return these pictures with their names."""
        ...

    def labels(self, rows: Int64Array) -> list[str | None]:
        """Return the class of each of these pictures, if it is known."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureFiles:
    """Files, and rows of tables of pixels. A file takes about 100 bytes in memory."""

    kept: tuple[str | PictureSource, ...]
    """A file is stored as its path only."""

    is_labelled = False

    def __len__(self) -> int:
        return len(self.kept)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, and of the files' sizes and times or of other pictures' pixels."""
        digest = hashlib.blake2b(digest_size=20)
        for one in self.kept:
            digest.update(json.dumps(_seen(one)).encode())
        return digest.hexdigest()

    def chunks(self, size: int) -> Iterator[Int64Array]:
        """Yield all numbers, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield np.arange(start, min(start + size, len(self)))

    def sources(self, rows: Int64Array) -> list[PictureSource]:
        """Return these pictures with their names."""
        some = (self.kept[row] for row in rows.tolist())
        return [one if isinstance(one, PictureSource) else _of_path(one) for one in some]

    def labels(self, rows: Int64Array) -> list[str | None]:
        """Return None for each: a folder's name may be a class or not."""
        return [None] * len(rows)


def open_pictures(
    words: Sequence[str], given: Range | None = None, progress: Progress | None = None
) -> Pictures:
    """Open what the words name: shards (files, folders, patterns, addresses), or picture files
    (files, folders, patterns, tables of pixels with the range ``given``).

    ``progress`` receives how many shards are indexed. Raises ``DataError`` for a word without any
    pictures and for damaged shards, and ``UserError`` for words of both kinds and for standard
    input.
    """
    of_shards = [word for word in words if names_shards(word)]
    if of_shards:
        if len(of_shards) < len(words):
            other = next(word for word in words if word not in of_shards)
            raise UserError(
                f"wanted shards or pictures, got both: {of_shards[0]} and {other}. Predict each "
                "on its own"
            )
        return open_shards(find_all(words), progress)
    if "-" in words:
        raise UserError("wanted files or shards, got - for standard input. Name the file")
    for word in words:
        if not os.path.lexists(word) and not any(sign in word for sign in "*?["):
            raise DataError(f"{printable_path(word)}: no such file or folder")
    kept: list[str | PictureSource] = []
    for source in pictures_asked(words, given=given):
        if source.problem:
            raise DataError(f"{source.name}: {source.problem}")
        kept.append(str(source.content) if isinstance(source.content, Path) else source)
    return PictureFiles(kept=tuple(kept))


def _of_path(path: str) -> PictureSource:
    return PictureSource(name=printable_path(path), content=Path(path))


def _seen(one: str | PictureSource) -> tuple[str, ...]:
    """Return what identifies an unread file."""
    if isinstance(one, PictureSource):
        assert isinstance(one.content, Image.Image), "all others are files"
        return one.name, hashlib.blake2b(one.content.tobytes(), digest_size=20).hexdigest()
    try:
        status = os.stat(one)  # noqa: PTH116 (a million of them)
    except OSError:
        return (one,)  # reading it reports why
    return one, str(status.st_size), str(status.st_mtime_ns)
