"""EMNIST's sets. One ZIP contains the IDX files of all sets, and the images lie on their side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from firstlight.data import idx
from firstlight.data.entry import TRAIN, Arrays, Entry, FileFormat, Source
from firstlight.data.idx import Member
from firstlight.data.idx_set import idx_path
from firstlight.files import is_file


@dataclass(frozen=True, kw_only=True)
class EmnistFiles(FileFormat):
    """The format of an entry with one file, the ZIP of all sets."""

    archives: ClassVar[int] = 1

    split: str
    """The name of the set in its file names."""
    first_label: int = 0
    """Number of the first class in the label files."""

    def sources(self, entry: Entry, place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        (published,) = entry.files
        names = [name for part in wanted for name in self._names(part)]
        for folder in entry.folders(place):
            archive = folder / published.name
            if is_file(archive):
                members = {name: Member(archive, f"gzip/{name}") for name in names}
                yield Source(
                    archive,
                    partial(self._read, entry, members, wanted),
                    ((archive, published.md5),),
                )
            paths = {name: path for name in names if (path := idx_path(folder, name)) is not None}
            if len(paths) == len(names):
                yield Source(folder, partial(self._read, entry, paths, wanted))

    def _names(self, part: str) -> tuple[str, str]:
        """Return the file names of a part's images and labels."""
        stem = f"emnist-{self.split}-{'train' if part == TRAIN else 'test'}"
        return f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"

    def _read(
        self, entry: Entry, files: Mapping[str, Path | Member], wanted: Sequence[str]
    ) -> dict[str, Arrays]:
        height, width, _ = entry.image_shape
        read = {}
        for part in wanted:
            images, labels = (files[name] for name in self._names(part))
            count, classes = entry.count(part), len(entry.class_names)
            columns_first = idx.read_images(images, (width, height), count)
            read[part] = (
                np.ascontiguousarray(columns_first.transpose(0, 2, 1, 3)),
                idx.read_labels(labels, classes, count, first=self.first_label),
            )
        return read
