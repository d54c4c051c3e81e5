"""A ZIP archive or a compressed tar with folders of pictures, unpacked once into the cache.

Nothing in an archive is trusted: neither its names nor the sizes it states.
"""

import hashlib
import lzma
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
from firstlight.files import cache_folder, is_portable, make_folder, put_in_place

MOST_FILES = 1_000_000
MOST_BYTES = 64 << 30
"""For all unpacked files together."""
MOST_OF_ONE = 1 << 30
"""For one unpacked file."""
FREE_BYTES = 1 << 30
"""Any archive may unpack to this many bytes, a larger one to ``MOST_TIMES`` its size."""
MOST_TIMES = 50
_CHUNK = 1 << 20
_INNER, _LEFT_OUT = "pictures", "left-out"
ENDINGS = (".zip", *PACKED_TARS)
_UNREADABLE: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    RuntimeError,  # it needs a password
)


def is_archive(path: Path) -> bool:
    """Return whether the content of a file is a ZIP archive (not arrays, not a workbook) or a tar
    compressed with gzip or bzip2."""
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
    """Return the name of an archive without its extension."""
    ending = next((one for one in ENDINGS if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def unpacked(path: Path, digest: str, notes: list[str]) -> Path:
    """Return the cache folder with the pictures of an archive, named ``pictures``. ``digest`` is
    the SHA-256 of the archive.

    Other files are not unpacked, and ``notes`` says so. Raises ``DataError`` if the archive is
    damaged or encrypted, has names that point outside it, or unpacks to more than is allowed.
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
    """Return where an archive with this SHA-256 is unpacked. Open it with ``opened``."""
    return cache_folder() / "archives" / digest[:40]


def opened(digest: str, name: str, notes: list[str]) -> Path:
    """Return the folder with the pictures of an unpacked archive. Raises ``OSError``."""
    target = place_of(digest)
    cache.opened(target)
    left = int((target / _LEFT_OUT).read_text())
    if left:
        notes.append(f"{name}: {left:,} file{'' if left == 1 else 's'} left out: not pictures")
    return target / _INNER


def list_archive(path: Path, *, least: int = 2) -> Listing:
    """List the pictures of an archive as ``list_folder`` does. Raises ``DataError``."""
    notes: list[str] = []
    return list_unpacked(unpacked(path, sha256_of(path), notes), str(path), notes, least)


def list_unpacked(folder: Path, name: str, notes: list[str], least: int) -> Listing:
    """List the pictures of an archive that was unpacked into a folder. Messages use its name."""
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
    """Return the SHA-256 of a whole file in hex. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(path: Path, folder: Path) -> int:
    """Write the archive's pictures into ``folder``. Return how many other files there are."""
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
        if isinstance(error, OSError) and error.errno is not None:  # from the disk
            raise
        raise DataError(f"{path}: the archive is damaged: {error}. Get a new copy") from error
    return out.left


class _Unpacking:
    """Writes files of an archive into a folder, each under a name that is safe there."""

    def __init__(self, path: Path, folder: Path, most: int) -> None:
        self._path, self._folder, self._room = path, folder, most
        self._names, self._spelling = set[str](), _Spelling(path, folder)
        self.left = 0
        """How many files are not pictures."""

    def place(self, text: str) -> PurePosixPath | None:
        """Return where a file goes; None for a file that an operating system added. Raises
        ``DataError``."""
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
        """Write a file if it is a picture. Raises ``DataError`` if it is too large."""
        start = stream.read(START)
        known = name.suffix.lower() in SUFFIXES or is_heic_name(name.name)
        if not known and not is_picture(start):
            self.left += 1
            return
        out = self._folder.joinpath(*name.parts)
        out.parent.mkdir(parents=True, exist_ok=True)
        self._room -= _copy(self._path, start, stream, out, self._room)


def _check(path: Path, members: list[zipfile.ZipInfo], most: int) -> None:
    """Check what the archive says about itself, before anything is unpacked."""
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
    """Return a member's path inside the folder; None for a file that an operating system added.
    Raises ``DataError`` for a path that points outside."""
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
    """Raises ``DataError`` for names that this machine's disk would change or confuse. Otherwise
    two classes could silently become one."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folds = path, _folds_case(folder)
        self._seen = dict[str, PurePosixPath]()

    def check(self, name: PurePosixPath) -> None:
        """Check the next name."""
        wrong = [part for part in name.parts if not is_portable(part)]
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
    """Return whether the disk of an empty folder ignores upper and lower case."""
    (folder / "a").touch()
    try:
        return (folder / "A").exists()
    finally:
        (folder / "a").unlink()


def _copy(path: Path, start: bytes, stream: IO[bytes], out: Path, room: int) -> int:
    """Write one file and return its size. The bytes are counted; the stated size is ignored."""
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
