"""What is known about a named data set, and the interface of the readers.

Axes: N images, H height, W width, C channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from firstlight.data.dataset import Int64Array, UInt8Array

TRAIN, TEST = "train", "test"
Arrays = tuple[UInt8Array, Int64Array]
"""Images N×H×W×C and labels N."""


class Source(NamedTuple):
    """A copy of a set on this machine."""

    where: Path
    """Its folder or file, for messages."""
    read: Callable[[], Mapping[str, Arrays]]
    """Reads the wanted parts."""
    published: tuple[tuple[Path, str], ...] = ()
    """Its files with their published MD5 (hex). None if they are not the published files, for
    example if they were unpacked."""


class FileFormat(ABC):
    """Reads the files of a set. Each format is a class in a file of its own."""

    archives: ClassVar[int]
    """The number of published files that an entry of this format lists."""
    compares_unpacked: ClassVar[bool] = False
    """Whether unpacked files too have published checksums."""

    @abstractmethod
    def sources(self, entry: "Entry", place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        """Yield each copy with the wanted parts in ``place`` or its subfolders, the preferred one
        first."""

    def is_unpacked(self, entry: "Entry", folder: Path) -> bool:
        """Return whether ``unpack`` was called here, so nothing has to be fetched."""
        return False

    def unpack(self, entry: "Entry", folder: Path) -> None:
        """Unpack the published files in ``folder`` as needed. By default they are kept as they
        are."""
        return


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One published archive."""

    name: str
    """The file name, also on this machine."""
    md5: str
    """Published checksum of the archive, hex."""
    size: int
    """Size in bytes."""
    urls: tuple[str, ...]
    """Public HTTPS addresses, tried in this order."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """SHA-256 (hex) of the decoded bytes, in whatever container they came."""

    train_images: str
    """The hash of the pixels, uint8 N×H×W×C."""
    train_labels: str
    """The hash of the labels, one byte each."""
    test_images: str
    test_labels: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One named data set."""

    name: str
    title: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    train_count: int
    test_count: int
    reader: FileFormat | Callable[[], Mapping[str, Arrays]]
    """The reader of its files, or a function that returns ``train`` and ``test``."""
    files: tuple[RemoteFile, ...] = ()
    """In the order that the format expects. Empty for a function."""
    origin: str = "embedded"
    """Where a function gets the data, in a word."""
    folder: str = ""
    """The folder in the cache for its fetched files; by default the set's name."""
    subfolders: tuple[str, ...] = ()
    """Where it may be in a searched folder, in this order; by default only where its fetched files
    are kept."""
    content: Content | None = None
    """The hashes of its arrays. Without them, the published files are checked by their MD5, and
    unpacked files only by counts, shapes and labels."""
    recipes: str = ""
    """The set whose ``standard`` recipe it uses, if it has none of its own."""
    mirrored: bool = True
    """Whether that recipe may mirror its images. A mirrored digit is not a digit."""
    licence: str
    citation: str
    hub: str = ""
    """Its name on the Hugging Face hub, ``OWNER/NAME``, for model cards. It is not fetched from
    there."""
    not_for: tuple[str, ...] = ()
    """What a classifier trained on it should not be used for, in sentences, for its card."""
    light_on_dark: bool
    """Light strokes or clothes on a black background."""
    centred_strokes: bool
    """Each image is one stroke, fitted into a box and centred by its mass."""

    def __post_init__(self) -> None:
        of_files = isinstance(self.reader, FileFormat)
        wanted = self.reader.archives if isinstance(self.reader, FileFormat) else 0
        if len(self.files) != wanted or not (of_files or callable(self.reader)):
            raise ValueError(
                f"{self.name}: reader must be a FileFormat with the files that it reads (IdxFiles "
                "has 4, CifarFiles 1), or a function with none, "
                f"not {self.reader!r} with {len(self.files)}"
            )
        if self.content is None and not of_files:
            raise ValueError(f"{self.name}: content must be given for a set without files")

    @property
    def shelf(self) -> str:
        """The name of the folder with its fetched files."""
        return self.folder or self.name

    def folders(self, place: Path) -> Iterator[Path]:
        """Yield the places in ``place`` where it may be, in this order."""
        return (place / sub for sub in self.subfolders or (self.shelf,))

    def count(self, part: str) -> int:
        """Return how many images ``train`` or ``test`` has."""
        return self.train_count if part == TRAIN else self.test_count
