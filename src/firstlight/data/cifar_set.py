"""CIFAR-10 and CIFAR-100 as named sets: unpacked batches, their archive, the pickled version."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from firstlight.data import cifar
from firstlight.data.cifar import Batch, Layout
from firstlight.data.entry import TEST, TRAIN, Arrays, Entry, FileFormat, Source
from firstlight.data.exact import unpack
from firstlight.files import is_file


@dataclass(frozen=True, kw_only=True)
class CifarFiles(FileFormat):
    """The format of an entry with one file, the archive of the binary version."""

    archives: ClassVar[int] = 1

    layout: Layout
    binary: str
    """The folder in the archive."""
    train: tuple[str, ...]
    """Batches of the training part, each with the same number of images, in ``.bin`` files."""
    test: tuple[str, ...]
    pickled: Mapping[str, str] = field(default_factory=dict)
    """Published MD5 of each file of the Python version, by its batch's name."""
    pickled_folders: tuple[str, ...] = ()
    """Where other programs store the Python version."""

    def sources(self, entry: Entry, place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        batches = self._batches(wanted)
        for folder in entry.folders(place):
            archive = folder / entry.files[0].name
            unpacked = all(is_file(folder / f"{b}.bin") for b in batches)
            # If the content is not known, only the archive can be checked.
            if is_file(archive) and not (unpacked and entry.content):
                yield Source(
                    archive,
                    partial(self._archived, entry, archive, wanted),
                    ((archive, entry.files[0].md5),),
                )
            elif unpacked:
                yield Source(folder, partial(self._binary, entry, folder, wanted))
        for folder in (place / sub for sub in self.pickled_folders):
            if all(is_file(folder / b) for b in batches):
                yield Source(
                    folder,
                    partial(self._pickled, entry, folder, wanted),
                    tuple((folder / b, self.pickled[b]) for b in batches),
                )

    def is_unpacked(self, entry: Entry, folder: Path) -> bool:
        unpacked = folder / self.binary
        return entry.content is not None and all(
            is_file(unpacked / f"{b}.bin") for b in self._batches((TRAIN, TEST))
        )

    def unpack(self, entry: Entry, folder: Path) -> None:
        """Unpack the batches if the content is known. They load faster and hold the same data."""
        if entry.content is not None:
            archive = folder / entry.files[0].name
            sizes = cifar.binary_sizes(self._counts(entry), self.layout)
            unpack(archive, folder / self.binary, sizes)
            archive.unlink()

    def _batches(self, wanted: Sequence[str]) -> list[str]:
        of_part = {TRAIN: self.train, TEST: self.test}
        return [batch for part in wanted for batch in of_part[part]]

    def _counts(self, entry: Entry) -> dict[str, int]:
        """Return how many images each batch has."""
        parts = ((TRAIN, self.train), (TEST, self.test))
        return {b: entry.count(part) // len(batches) for part, batches in parts for b in batches}

    def _archived(self, entry: Entry, archive: Path, wanted: Sequence[str]) -> dict[str, Arrays]:
        read = cifar.read_archive(archive, self._counts(entry), self.layout)
        return self._joined(read, wanted)

    def _binary(self, entry: Entry, folder: Path, wanted: Sequence[str]) -> dict[str, Arrays]:
        counts = self._counts(entry)
        read = {
            b: cifar.read_binary(folder / f"{b}.bin", counts[b], self.layout)
            for b in self._batches(wanted)
        }
        return self._joined(read, wanted)

    def _pickled(self, entry: Entry, folder: Path, wanted: Sequence[str]) -> dict[str, Arrays]:
        counts = self._counts(entry)
        read = {
            b: cifar.read_pickled(folder / b, self.pickled[b], counts[b], self.layout)
            for b in self._batches(wanted)
        }
        return self._joined(read, wanted)

    def _joined(self, batches: Mapping[str, Batch], wanted: Sequence[str]) -> dict[str, Arrays]:
        """Join the batches of each wanted part."""
        read = {}
        for part in wanted:
            of_part = [batches[b] for b in self._batches([part])]
            images, labels = [images for images, _ in of_part], [labels for _, labels in of_part]
            read[part] = np.concatenate(images), np.concatenate(labels)
        return read
