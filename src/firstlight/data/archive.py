"""A ZIP archive of folders of pictures, unpacked once into the cache.

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
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from firstlight import cache
from firstlight.data.folder import list_folder
from firstlight.data.formats import START, SUFFIXES, is_heic_name, is_picture
from firstlight.data.kept import workplace
from firstlight.data.listing import Listing
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
_LEFT_OUT = "left-out"
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
    """Whether a file is a ZIP archive by its content, and neither arrays nor a workbook."""
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


def unpacked(path: Path, notes: list[str]) -> Path:
    """The folder in the cache with the pictures of an archive; called ``pictures``.

    Files that are no pictures are left in the archive, which ``notes`` says. Raises ``DataError``
    for an archive that is damaged or encrypted, whose names lead out of it, or that unpacks to more
    than it may.
    """
    try:
        shelf = cache_folder() / "archives"
        make_folder(shelf)
        target = shelf / _digest(path)
        inner = "pictures"
        if not target.is_dir():
            with workplace(shelf, target.name) as work:
                (work / inner).mkdir()
                (work / _LEFT_OUT).write_text(str(_unpack(path, work / inner)))
                try:
                    put_in_place(work, target)
                except OSError:
                    if not target.is_dir():  # another process was faster
                        raise
            cache.make_room()
        cache.opened(target)
        left = int((target / _LEFT_OUT).read_text())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be unpacked into the cache: {error.strerror}. Make room, or point "
            "XDG_CACHE_HOME to a folder that can be written"
        ) from error
    if left:
        notes.append(f"{path.name}: {left:,} file{'' if left == 1 else 's'} left out, no picture")
    return target / inner


def list_archive(path: Path, *, least: int = 2) -> Listing:
    """The pictures of an archive, as ``list_folder`` lists them. Raises ``DataError``."""
    notes: list[str] = []
    folder = unpacked(path, notes)
    try:
        listing = list_folder(folder, least=least)
    except DataError as error:
        raise DataError(str(error).replace(str(folder), str(path))) from error
    told = [note.replace(str(folder), str(path)) for note in listing.notes]
    return replace(listing, notes=(*notes, *told))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:40]


def _unpack(path: Path, folder: Path) -> int:
    """Write the archive's pictures below ``folder``; how many other files there are."""
    most = min(MOST_BYTES, max(FREE_BYTES, MOST_TIMES * path.stat().st_size))
    written = left = 0
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            _check(path, members, most)
            placed = [(member, _safe_name(path, member)) for member in members]
            _check_spelling(path, folder, [name for _, name in placed if name is not None])
            for member, name in placed:
                if name is None:
                    continue
                with archive.open(member) as stream:
                    start = stream.read(START)
                    known = name.suffix.lower() in SUFFIXES or is_heic_name(name.name)
                    if not known and not is_picture(start):
                        left += 1
                        continue
                    out = folder.joinpath(*name.parts)
                    out.parent.mkdir(parents=True, exist_ok=True)
                    written += _copy(path, member, start, stream, out, most - written)
    except _UNREADABLE as error:
        raise DataError(f"{path}: the archive is damaged: {error}; get it anew") from error
    return left


def _check(path: Path, members: list[zipfile.ZipInfo], most: int) -> None:
    """What the archive says of itself, before anything is unpacked."""
    if len(members) > MOST_FILES:
        raise DataError(f"{path}: has {len(members):,} files; at most {MOST_FILES:,} are unpacked")
    total = sum(member.file_size for member in members)
    if total > most:
        raise DataError(_too_much(path, total, most))
    twice = [name for name, count in Counter(m.filename for m in members).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {twice[0]} is in it more than once")
    for member in members:
        if member.flag_bits & 1:
            raise DataError(f"{path}: is encrypted; unpack it, and train on the folder")


def _safe_name(path: Path, member: zipfile.ZipInfo) -> PurePosixPath | None:
    """The member's place below the folder; None for what systems leave. Raises ``DataError`` for
    one that leads out of it, and for links and devices."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise DataError(f"{path}: {member.filename} is no regular file; unpack it yourself")
    text = member.filename.replace("\\", "/")
    name = PurePosixPath(text)
    if not name.parts:
        return None
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or "\0" in text:
        raise DataError(
            f"{path}: {member.filename!r} leads out of the archive; this archive is not to be "
            "trusted"
        )
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return None if hidden else name


def _check_spelling(path: Path, folder: Path, names: list[PurePosixPath]) -> None:
    """Raise ``DataError`` for names that this machine's disk would change or take for others: two
    classes would become one without a word."""
    folds, seen = _folds_case(folder), dict[str, PurePosixPath]()
    for name in names:
        wrong = [part for part in name.parts if not _ON_WINDOWS.fullmatch(part)]
        if sys.platform == "win32" and wrong:
            raise DataError(
                f"{path}: {str(name)!r} has {wrong[0]!r}, which Windows takes for no file's name; "
                "pack the pictures anew under another"
            )
        for at in (name, *name.parents) if folds else ():
            key = unicodedata.normalize("NFC", str(at)).casefold()
            if (other := seen.setdefault(key, at)) != at:
                raise DataError(
                    f"{path}: {str(other)!r} and {str(at)!r} are one name on this disk, where "
                    "capital and small letters are the same; pack the pictures anew under others"
                )


def _folds_case(folder: Path) -> bool:
    """Whether capital and small letters are the same on the disk that an empty folder is on."""
    (folder / "a").touch()
    try:
        return (folder / "A").exists()
    finally:
        (folder / "a").unlink()


def _copy(
    path: Path,
    member: zipfile.ZipInfo,
    start: bytes,
    stream: IO[bytes],
    out: Path,
    room: int,
) -> int:
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
        f"{path}: unpacks to more than {most:,} bytes ({size:,}), far more than pictures do; "
        "if you trust it, unpack it, and train on the folder"
    )
