"""STL-10's binary version: for each part a file of pixels and a file of labels.

An image is three planes, red, green and blue, each column by column. A label is a byte, 1 to 10.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from firstlight.data.entry import TEST, TRAIN, Arrays, Entry, FileFormat, Source
from firstlight.data.exact import from_zero, read_exactly, tar_members, unpack
from firstlight.files import is_file

FOLDER = "stl10_binary"
"""The folder in the archive."""


@dataclass(frozen=True, kw_only=True)
class Stl10Files(FileFormat):
    """The format of an entry with one file, the archive. The four files with labelled images are
    unpacked. The unlabelled images, which are most of it, are not."""

    archives: ClassVar[int] = 1
    compares_unpacked: ClassVar[bool] = True

    md5s: Mapping[str, str]
    """Published MD5 of each of the four files."""

    def sources(self, entry: Entry, place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        names = [name for part in wanted for name in _names(part)]
        for folder in entry.folders(place):
            if all(is_file(folder / name) for name in names):
                published = tuple((folder / name, self.md5s[name]) for name in names)
                yield Source(folder, partial(_read, entry, folder, wanted), published)
            elif is_file(archive := folder / entry.files[0].name):
                # Slow, because it contains the unlabelled images.
                packed = ((archive, entry.files[0].md5),)
                yield Source(archive, partial(_read_archive, entry, archive, wanted), packed)

    def is_unpacked(self, entry: Entry, folder: Path) -> bool:
        return all(is_file(folder / FOLDER / name) for name in self.md5s)

    def unpack(self, entry: Entry, folder: Path) -> None:
        archive = folder / entry.files[0].name
        sizes = {name: s for part in (TRAIN, TEST) for name, s in _sizes(entry, part).items()}
        unpack(archive, folder / FOLDER, sizes)
        archive.unlink()


def _names(part: str) -> tuple[str, str]:
    """Return the names of the files with a part's pixels and labels."""
    return f"{part}_X.bin", f"{part}_y.bin"


def _sizes(entry: Entry, part: str) -> dict[str, int]:
    """Return the sizes of the two files in bytes."""
    pixels, labels = _names(part)
    return {pixels: entry.count(part) * int(np.prod(entry.image_shape)), labels: entry.count(part)}


def _read(entry: Entry, folder: Path, wanted: Sequence[str]) -> dict[str, Arrays]:
    blobs = {
        name: read_exactly(folder / name, size, f"{entry.count(part):,} images")
        for part in wanted
        for name, size in _sizes(entry, part).items()
    }
    return {part: _part(entry, blobs, part, folder) for part in wanted}


def _read_archive(entry: Entry, archive: Path, wanted: Sequence[str]) -> dict[str, Arrays]:
    sizes = {name: size for part in wanted for name, size in _sizes(entry, part).items()}
    blobs = dict(tar_members(archive, sizes))
    return {part: _part(entry, blobs, part, archive) for part in wanted}


def _part(entry: Entry, blobs: Mapping[str, bytes], part: str, where: Path) -> Arrays:
    height, width, channels = entry.image_shape
    pixels, labels_N = (np.frombuffer(blobs[name], dtype=np.uint8) for name in _names(part))
    images_NCWH = pixels.reshape(-1, channels, width, height)
    known = range(1, len(entry.class_names) + 1)
    return (
        np.ascontiguousarray(images_NCWH.transpose(0, 3, 2, 1)),
        from_zero(labels_N, known, f"{where}: {_names(part)[1]}"),
    )
