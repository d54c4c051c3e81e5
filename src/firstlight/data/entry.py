"""What is known of a named data set, and what a reader of its files gives.

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
    """A copy of a set that lies on this machine."""

    where: Path
    """Its folder or file, for messages."""
    read: Callable[[], Mapping[str, Arrays]]
    """Gives the wanted parts."""
    published: tuple[tuple[Path, str], ...] = ()
    """Its files, each with the MD5 (hex) it was published with. None where they are not the files
    as published, such as unpacked ones."""


class FileFormat(ABC):
    """Reads the files of a set. Each format is a class in a file of its own."""

    archives: ClassVar[int]
    """How many published files an entry of this format lists."""
    compares_unpacked: ClassVar[bool] = False
    """Whether unpacked files too have published checksums."""

    @abstractmethod
    def sources(self, entry: "Entry", place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        """Each copy with the wanted parts in and below ``place``, the preferred one first."""

    def is_unpacked(self, entry: "Entry", folder: Path) -> bool:
        """Whether ``unpack`` has been here, so that nothing need be fetched."""
        return False

    def unpack(self, entry: "Entry", folder: Path) -> None:
        """Called once the published files are in ``folder``: keep what is to be kept of them,
        by default the files themselves."""
        return


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One archive as published."""

    name: str
    """The file name, kept when it is saved."""
    md5: str
    """Published checksum of the archive, hex."""
    size: int
    """Bytes."""
    urls: tuple[str, ...]
    """Public https addresses, tried in this order."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """SHA-256 (hex) of the decoded bytes, whatever container they came in."""

    train_images: str
    """Of the pixels, uint8 N×H×W×C."""
    train_labels: str
    """Of the labels, one byte each."""
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
    """What reads its files, or a function that gives ``train`` and ``test``."""
    files: tuple[RemoteFile, ...] = ()
    """As the format wants them. None for a function."""
    origin: str = "embedded"
    """Where a function takes it from, in a word."""
    folder: str = ""
    """Where its fetched files are kept, below the cache; by default under its own name."""
    subfolders: tuple[str, ...] = ()
    """Where it may be below a folder that is looked into, in this order; by default where its
    fetched files are kept, alone."""
    content: Content | None = None
    """How its arrays are known. Without it the published files are known by their MD5, and of
    unpacked ones only counts, shapes and labels can be checked."""
    recipes: str = ""
    """The set whose ``standard`` recipe it is trained with, where it has none of its own."""
    mirrored: bool = True
    """Whether that recipe may mirror its images; a digit seen in a mirror is none."""
    licence: str
    citation: str
    hub: str = ""
    """Its name on the Hugging Face hub, ``OWNER/NAME``, for the cards of models. It is not taken
    from there."""
    not_for: tuple[str, ...] = ()
    """What a classifier that was trained on it is not for, in sentences, for its card."""
    light_on_dark: bool
    """Light strokes or clothes on a black ground."""
    centred_strokes: bool
    """Each image is one stroke, fitted and centred by its mass."""

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
            raise ValueError(f"{self.name}: content must be given for a set that is no files")

    @property
    def shelf(self) -> str:
        """Name of the folder with its fetched files."""
        return self.folder or self.name

    def folders(self, place: Path) -> Iterator[Path]:
        """Where it may be below ``place``, in this order."""
        return (place / sub for sub in self.subfolders or (self.shelf,))

    def count(self, part: str) -> int:
        """Images of ``train`` or ``test``."""
        return self.train_count if part == TRAIN else self.test_count
