"""Write a file or a folder as a whole or not at all; and the place for what can be made again."""

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

# What the storage cannot do, whatever the name.
STORAGE = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG}
STORAGE |= {getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has none

# A folder that the file system cannot sync, or that may not be read, gives one of these.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}

PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]+\.part")
"""The temporary name of a file that is being written, or was when its process was killed."""
# Where there are no locks, what nobody has touched for so many seconds is nobody's.
_STALE_SECONDS = 3600.0


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` through a temporary name beside it, of which nothing is left behind.

    When it returns, the content survives a power cut. Raises ``OSError``, also where ``path`` is
    there and no regular file: a device stays one.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it exists and is not a regular file")
    clear_parts(path.parent, path.name)
    # Bytes of a file's name that are no text come back as they were.
    blob = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    part, descriptor = _new_part(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(blob)
            file.flush()
            if os.name != "nt":  # there, a file that is open cannot be renamed
                put_in_place(part, path)
        if os.name == "nt":
            put_in_place(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_file(path: Path) -> bool:
    """Whether a file is there. False also where the folder may not be searched; that is as good as
    no file."""
    try:
        return path.is_file()
    except OSError:
        return False


def clear_parts(folder: Path, name: str | None = None) -> None:
    """Remove what processes left in ``folder`` that were killed while writing: of the file
    ``name``, or of any.

    A process that writes holds a lock on its part, so a running one's is never taken. What cannot
    be removed stays.
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
        if os.name == "nt":  # an open file cannot be removed there
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
    """A new file beside ``path`` that nobody else has, and its descriptor, locked."""
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
        os.close(descriptor)  # another process took it for stale before it was locked
        part.unlink(missing_ok=True)


def put_in_place(part: Path, target: Path) -> None:
    """Rename ``part``, a file or a folder with all its files, to ``target`` so that a power cut
    leaves either the old ``target`` or the whole new one.

    The content is synced to the disk, then the name is changed, then the folder that holds it is
    synced. Whatever ``target`` replaces may be removed afterwards. Raises ``OSError``; a folder
    replaces only an empty folder.
    """
    _sync_all(part)
    if os.name == "nt" and part.is_dir():  # there, not even an empty folder is replaced
        with contextlib.suppress(OSError):
            target.rmdir()
    part.replace(target)
    sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it, as far as they are missing, to survive a power cut.

    Raises ``OSError``.
    """
    missing = [at for at in (folder, *folder.parents) if not at.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk, where the system can: Windows has no such call.

    Raises ``OSError`` where the disk fails.
    """
    if os.name == "nt":
        return
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_all(path: Path) -> None:
    """Have a file, or a folder with everything in it, on the disk."""
    if not path.is_dir():
        _sync(path)
        return
    for inner in path.iterdir():
        _sync_all(inner)
    sync_folder(path)


def _sync(path: Path) -> None:
    # Windows syncs only what is open for writing, and Linux opens a folder only for reading.
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_asked(path: Path, content: str | bytes) -> None:
    """``write_whole`` for a file that a person named.

    Raises ``DataError`` where the storage takes no more, and ``UserError`` for a place where
    nothing can be written.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error) from error


def check_takes_files(folder: Path, path: Path) -> None:
    """Raise as ``write_asked`` does where no file can be made in ``folder``, for ``path``."""
    try:
        NamedTemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(path, error) from error


def check_new_folder(folder: Path) -> None:
    """Raise ``UserError`` where ``folder`` is there and holds something, or is no folder."""
    try:
        # The folder "." has no name, and could not be put in place.
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
    """A folder to write into, which becomes ``folder`` at the end of the block: whole or not at
    all.

    Raises as ``check_new_folder`` and ``write_asked`` do, also for an ``OSError`` of the block.
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
    """What to tell of a place that a person named and that cannot be written: ``DataError`` where
    the storage is full, read-only or failing, otherwise ``UserError``."""
    kind = DataError if error.errno in STORAGE else UserError
    return kind(f"{path}: cannot be written: {error.strerror}. Choose another path")


def cache_folder() -> Path:
    """The system's cache folder for this program: for what it can fetch or make again."""
    from platformdirs import user_cache_path

    return user_cache_path("firstlight", appauthor=False)
