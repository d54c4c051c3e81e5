"""A ZIP archive or a packed tar of folders of pictures, unpacked once into the cache.

Nothing of an archive is trusted: neither its names nor what it says of its sizes.
"""

import hashlib
import lzma
import re
import stat
import sys
import unicodedata
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from firstlight import cache
from firstlight.data.folder import list_folder
from firstlight.data.formats import START, SUFFIXES, is_heic_name, is_picture
from firstlight.data.kept import workplace
from firstlight.data.listing import Listing
from firstlight.data.packed_tar import (
    PACKED_TARS,
    UNREADABLE,
    TooMuchError,
    is_packed_tar,
    tar_files,
)
from firstlight.errors import DataError
from firstlight.files import cache_folder, make_folder, put_in_place

MOST_FILES = 1_000_000
MOST_BYTES = 64 << 30
"""Of all files unpacked."""
MOST_OF_ONE = 1 << 30
"""Of one file unpacked."""
FREE_BYTES = 1 << 30
"""As many bytes may any archive unpack to, a larger one to ``MOST_TIMES`` its size."""
MOST_TIMES = 50
_CHUNK = 1 << 20
_INNER, _LEFT_OUT = "pictures", "left-out"
ENDINGS = (".zip", *PACKED_TARS)
# Neither a device's name nor a forbidden character, nor an end that would be cut off.
_ON_WINDOWS = re.compile(
    r"(?!(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?$)"
    r'[^<>:"|?*\x00-\x1f]*[^<>:"|?*\x00-\x1f. ]',
    re.IGNORECASE,
)
_UNREADABLE: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    RuntimeError,  # a password is wanted
)


def is_archive(path: Path) -> bool:
    """Whether a file is a ZIP archive by its content, and neither arrays nor a workbook; or a tar
    that gzip or bzip2 packed."""
    if is_packed_tar(path):
        return True
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:100]
    except (OSError, ValueError):
        return path.suffix.lower() == ".zip"
    except _UNREADABLE:
        return path.suffix.lower() == ".zip"
    return "[Content_Types].xml" not in names and path.suffix.lower() != ".npz"


def archive_name(name: str) -> str:
    """The name of an archive without its ending."""
    ending = next((one for one in ENDINGS if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def unpacked(path: Path, digest: str, notes: list[str]) -> Path:
    """The folder in the cache with the pictures of an archive; called ``pictures``. ``digest`` is
    the SHA-256 of the archive.

    Files that are no pictures are left in the archive, which ``notes`` says. Raises ``DataError``
    for an archive that is damaged or encrypted, whose names lead out of it, or that unpacks to more
    than it may.
    """
    try:
        shelf = cache_folder() / "archives"
        make_folder(shelf)
        target = place_of(digest)
        if not target.is_dir():
            with workplace(shelf, target.name) as work:
                (work / _INNER).mkdir()
                (work / _LEFT_OUT).write_text(str(_unpack(path, work / _INNER)))
                try:
                    put_in_place(work, target)
                except OSError:
                    if not target.is_dir():  # another process was faster
                        raise
            cache.make_room()
        return opened(digest, path.name, notes)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be unpacked into the cache: {error.strerror}. Free some disk space, "
            "or set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def place_of(digest: str) -> Path:
    """Where an archive of this SHA-256 is unpacked to; ``opened`` opens it."""
    return cache_folder() / "archives" / digest[:40]


def opened(digest: str, name: str, notes: list[str]) -> Path:
    """The folder with the pictures of an archive that is unpacked. Raises ``OSError``."""
    target = place_of(digest)
    cache.opened(target)
    left = int((target / _LEFT_OUT).read_text())
    if left:
        notes.append(f"{name}: {left:,} file{'' if left == 1 else 's'} left out: not pictures")
    return target / _INNER


def list_archive(path: Path, *, least: int = 2) -> Listing:
    """The pictures of an archive, as ``list_folder`` lists them. Raises ``DataError``."""
    notes: list[str] = []
    return list_unpacked(unpacked(path, sha256_of(path), notes), str(path), notes, least)


def list_unpacked(folder: Path, name: str, notes: list[str], least: int) -> Listing:
    """The pictures of an archive that is unpacked into a folder; messages call it by its name."""
    try:
        listing = list_folder(folder, least=least)
    except DataError as error:
        shards = ""
        if name.lower().endswith(PACKED_TARS) and not any(one.is_dir() for one in folder.iterdir()):
            shards = (
                "; if it holds shards, unpack it to a .tar: in a compressed file, single images "
                "cannot be read"
            )
        raise DataError(f"{str(error).replace(str(folder), name)}{shards}") from error
    told = [note.replace(str(folder), name) for note in listing.notes]
    return replace(listing, notes=(*notes, *told))


def sha256_of(path: Path) -> str:
    """Hex, of a whole file. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(path: Path, folder: Path) -> int:
    """Write the archive's pictures below ``folder``; how many other files there are."""
    most = min(MOST_BYTES, max(FREE_BYTES, MOST_TIMES * path.stat().st_size))
    out = _Unpacking(path, folder, most)
    try:
        if is_packed_tar(path):
            for text, content in tar_files(path, most):
                if (name := out.place(text)) is not None:
                    out.take(name, content)
            return out.left
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            _check(path, members, most)
            placed = [(member, out.place(member.filename)) for member in members]
            for member, name in placed:
                if name is not None:
                    with archive.open(member) as stream:
                        out.take(name, stream)
    except TooMuchError as error:
        raise DataError(_too_much(path, most + 1, most)) from error
    except (*_UNREADABLE, *UNREADABLE) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the storage's own
            raise
        raise DataError(f"{path}: the archive is damaged: {error}. Get a new copy") from error
    return out.left


class _Unpacking:
    """Writes files of an archive below a folder, each at a name that is safe there."""

    def __init__(self, path: Path, folder: Path, most: int) -> None:
        self._path, self._folder, self._room = path, folder, most
        self._names, self._spelling = set[str](), _Spelling(path, folder)
        self.left = 0
        """Files that are no pictures."""

    def place(self, text: str) -> PurePosixPath | None:
        """Where a file is to be; None for what systems leave. Raises ``DataError``."""
        if text in self._names:
            raise DataError(f"{self._path}: {text} is in it more than once")
        self._names.add(text)
        if len(self._names) > MOST_FILES:
            raise DataError(f"{self._path}: has more than {MOST_FILES:,} files")
        name = _safe_name(self._path, text)
        if name is not None:
            self._spelling.check(name)
        return name

    def take(self, name: PurePosixPath, stream: IO[bytes]) -> None:
        """Write a file that is a picture. Raises ``DataError`` where it is too large."""
        start = stream.read(START)
        known = name.suffix.lower() in SUFFIXES or is_heic_name(name.name)
        if not known and not is_picture(start):
            self.left += 1
            return
        out = self._folder.joinpath(*name.parts)
        out.parent.mkdir(parents=True, exist_ok=True)
        self._room -= _copy(self._path, start, stream, out, self._room)


def _check(path: Path, members: list[zipfile.ZipInfo], most: int) -> None:
    """What the archive says of itself, before anything is unpacked."""
    if len(members) > MOST_FILES:
        raise DataError(f"{path}: has {len(members):,} files; at most {MOST_FILES:,} are unpacked")
    total = sum(member.file_size for member in members)
    if total > most:
        raise DataError(_too_much(path, total, most))
    for member in members:
        if member.flag_bits & 1:
            raise DataError(f"{path}: is encrypted. Unpack it yourself and train on the folder")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(
                f"{path}: {member.filename} is not a regular file. Unpack the archive yourself"
            )


def _safe_name(path: Path, written: str) -> PurePosixPath | None:
    """A member's place below the folder; None for what systems leave. Raises ``DataError`` for one
    that leads out of it."""
    text = written.replace("\\", "/")
    name = PurePosixPath(text)
    if not name.parts:
        return None
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or "\0" in text:
        raise DataError(
            f"{path}: {written!r} points outside the archive. Do not trust this archive"
        )
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return None if hidden else name


class _Spelling:
    """Raises ``DataError`` for names that this machine's disk would change or take for others: two
    classes would become one without a word."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folds = path, _folds_case(folder)
        self._seen = dict[str, PurePosixPath]()

    def check(self, name: PurePosixPath) -> None:
        """One name after another."""
        wrong = [part for part in name.parts if not _ON_WINDOWS.fullmatch(part)]
        if sys.platform == "win32" and wrong:
            raise DataError(
                f"{self._path}: {str(name)!r} has {wrong[0]!r}, which is not a valid file name "
                "on Windows. Pack the pictures again under another name"
            )
        for at in (name, *name.parents) if self._folds else ():
            key = unicodedata.normalize("NFC", str(at)).casefold()
            if (other := self._seen.setdefault(key, at)) != at:
                raise DataError(
                    f"{self._path}: {str(other)!r} and {str(at)!r} are the same name on this "
                    "disk, which does not distinguish upper and lower case. Pack the pictures "
                    "again under other names"
                )


def _folds_case(folder: Path) -> bool:
    """Whether capital and small letters are the same on the disk that an empty folder is on."""
    (folder / "a").touch()
    try:
        return (folder / "A").exists()
    finally:
        (folder / "a").unlink()


def _copy(path: Path, start: bytes, stream: IO[bytes], out: Path, room: int) -> int:
    """Write one file; its bytes are counted, whatever the archive says of them."""
    size, chunk = 0, start
    with out.open("xb") as file:
        while chunk:
            size += len(chunk)
            if size > min(room, MOST_OF_ONE):
                raise DataError(_too_much(path, size, min(room, MOST_OF_ONE)))
            file.write(chunk)
            chunk = stream.read(_CHUNK)
    return size


def _too_much(path: Path, size: int, most: int) -> str:
    return (
        f"{path}: unpacks to more than {most:,} bytes ({size:,}), far more than pictures do. If "
        "you trust it, unpack it yourself and train on the folder"
    )
