"""Write a file or a folder as a whole or not at all; and find the cache folder."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from firstlight.errors import DataError, UserError
from firstlight.locks import try_lock

# Errors of the storage itself, for any name.
STORAGE = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG}
STORAGE |= {getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has none

# Errors for a folder that the file system cannot sync or that is not readable.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}

PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]+\.part")
"""Temporary name of a file being written, or left behind by a killed process."""
# Neither a device's name nor a forbidden character, nor an end that would be cut off.
_ON_WINDOWS = re.compile(
    r"(?!(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?$)"
    r'[^<>:"/\\|?*\x00-\x1f]*[^<>:"/\\|?*\x00-\x1f. ]',
    re.IGNORECASE,
)
# On a file system without locks, a temporary file untouched for this many seconds is abandoned.
_STALE_SECONDS = 3600.0


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` through a temporary file beside it, which never remains.

    After this function returns, the content survives a power cut. Raises ``OSError``, also if
    ``path`` exists and is not a regular file: a device stays one.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it exists and is not a regular file")
    clear_parts(path.parent, path.name)
    # Restores the bytes of file names that are not valid text.
    blob = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    part, descriptor = _new_part(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(blob)
            file.flush()
            if os.name != "nt":  # Windows cannot rename an open file
                put_in_place(part, path)
        if os.name == "nt":
            put_in_place(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_file(path: Path) -> bool:
    """Whether a file exists. Also False if its folder is not searchable, since the file is unusable
    then."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_portable(name: str) -> bool:
    """Whether every system accepts this name of a file: Windows, too, which reserves some."""
    return _ON_WINDOWS.fullmatch(name) is not None


def clear_parts(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files of killed processes in ``folder``: those of the file ``name``, or
    all.

    A process that writes holds a lock on its temporary file, so a running process is not disturbed.
    Files that cannot be removed stay.
    """
    with contextlib.suppress(OSError):
        for part in list(folder.iterdir()):
            found = PART.fullmatch(part.name)
            if found is not None and name in (None, found["name"]):
                _clear(part)


def _clear(part: Path) -> None:
    with contextlib.suppress(OSError):
        status = part.lstat()
        if not stat.S_ISREG(status.st_mode):
            return
        old = time.time() - status.st_mtime > _STALE_SECONDS
        if os.name == "nt":  # Windows cannot remove an open file
            if old:
                part.unlink()
            return
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
        try:
            locked = try_lock(descriptor)
            if locked or (locked is None and old):
                part.unlink()
        finally:
            os.close(descriptor)


def _new_part(path: Path) -> tuple[Path, int]:
    """Create a new file beside ``path`` that no other process uses, and lock its descriptor."""
    while True:
        part = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(part, flags, 0o666)
        except FileExistsError:
            continue
        if os.name == "nt":
            return part, descriptor
        if try_lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return part, descriptor
        os.close(descriptor)  # another process removed it as abandoned before it was locked
        part.unlink(missing_ok=True)


def put_in_place(part: Path, target: Path) -> None:
    """Rename ``part``, a file or a complete folder, to ``target``. After a power cut, there is
    either the old ``target`` or the whole new one.

    The content is synced to disk, then renamed, and then the parent folder is synced. Whatever
    ``target`` replaces may be removed afterwards. Raises ``OSError``; a folder replaces only an
    empty folder.
    """
    _sync_all(part)
    if os.name == "nt" and part.is_dir():  # Windows does not even replace an empty folder
        with contextlib.suppress(OSError):
            target.rmdir()
    part.replace(target)
    sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its missing parents, so that they survive a power cut.

    Raises ``OSError``.
    """
    missing = [at for at in (folder, *folder.parents) if not at.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in ``folder`` to disk if the system can: Windows has no such call.

    Raises ``OSError`` if the disk fails.
    """
    if os.name == "nt":
        return
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_all(path: Path) -> None:
    """Sync a file, or a folder and everything in it, to disk."""
    if not path.is_dir():
        _sync(path)
        return
    for inner in path.iterdir():
        _sync_all(inner)
    sync_folder(path)


def _sync(path: Path) -> None:
    # Windows syncs only files open for writing; Linux opens a folder only for reading.
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_asked(path: Path, content: str | bytes) -> None:
    """Like ``write_whole``, for a file that the user named.

    Raises ``DataError`` if the storage is full, and ``UserError`` if the place is not writable.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error) from error


def check_takes_files(folder: Path, path: Path) -> None:
    """Raise as ``write_asked`` does if no file can be created in ``folder``, for ``path``."""
    try:
        NamedTemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(path, error) from error


def check_new_folder(folder: Path) -> None:
    """Raise ``UserError`` if ``folder`` exists and is not an empty folder."""
    try:
        # The folder "." has no name and could not be replaced.
        taken = not folder.name or folder.is_symlink() or any(folder.iterdir())
    except FileNotFoundError:
        taken = False
    except NotADirectoryError:
        taken = True
    except OSError as error:
        raise unwritable(folder, error) from error
    if taken:
        raise UserError(f"{folder} already exists; name a new or empty folder")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` at the end of the block, as a whole or not
    at all.

    Raises as ``check_new_folder`` and ``write_asked`` do, also for an ``OSError`` in the block.
    """
    check_new_folder(folder)
    work = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        make_folder(folder.parent)
        work.mkdir()
        yield work
        put_in_place(work, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> UserError:
    """Return the error for a place that the user named and that is not writable: ``DataError`` if
    the storage is full, read-only or failing, otherwise ``UserError``."""
    kind = DataError if error.errno in STORAGE else UserError
    return kind(f"{path}: cannot be written: {error.strerror}. Choose another path")


def cache_folder() -> Path:
    """Return this program's folder in the system's cache, for files that can be downloaded or made
    again."""
    from platformdirs import user_cache_path

    return user_cache_path("firstlight", appauthor=False)
