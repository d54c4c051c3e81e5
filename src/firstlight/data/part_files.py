"""Sets that are published as one file for the training part and one for the test part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from firstlight.data.entry import TEST, TRAIN, Arrays, Entry, FileFormat, Source
from firstlight.files import is_file


@dataclass(frozen=True)
class PartFiles(FileFormat):
    """The format of an entry with one file for each part, training and test."""

    archives: ClassVar[int] = 2

    read: Callable[[Path, Entry, int], Arrays]
    """Reads one file, given how many images it must have. Raises ``DataError``."""

    def sources(self, entry: Entry, place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        files = dict(zip((TRAIN, TEST), entry.files, strict=True))
        for folder in entry.folders(place):
            paths = {part: folder / files[part].name for part in wanted}
            if all(is_file(path) for path in paths.values()):
                published = tuple((path, files[part].md5) for part, path in paths.items())
                yield Source(folder, partial(self._read_all, entry, paths), published)

    def _read_all(self, entry: Entry, paths: Mapping[str, Path]) -> dict[str, Arrays]:
        return {part: self.read(path, entry, entry.count(part)) for part, path in paths.items()}
