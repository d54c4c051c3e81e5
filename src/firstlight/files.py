"""Write a file or a folder as a whole or not at all; and the place for what can be made again."""

import errno
import os
from pathlib import Path

from firstlight.errors import DataError, UserError

# What the storage cannot do, whatever the name.
STORAGE = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG}
STORAGE |= {getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has none

# A folder that the file system cannot sync, or that may not be read, gives one of these.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` through a temporary name beside it, of which nothing is left behind.

    When it returns, the content survives a power cut. Raises ``OSError``, also where ``path`` is
    there and no regular file: a device stays one.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is there, and is no regular file")
    blob = content.encode() if isinstance(content, str) else content
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(blob)
        put_in_place(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def put_in_place(part: Path, target: Path) -> None:
    """Rename ``part``, a file or a folder with all its files, to ``target`` so that a power cut
    leaves either the old ``target`` or the whole new one.

    The content is synced to the disk, then the name is changed, then the folder that holds it is
    synced. Whatever ``target`` replaces may be removed afterwards. Raises ``OSError``; a folder
    replaces only an empty folder.
    """
    _sync_all(part)
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


def unwritable(path: Path, error: OSError) -> UserError:
    """What to tell of a file that a person named and that cannot be written."""
    kind = DataError if error.errno in STORAGE else UserError
    return kind(f"{path}: cannot be written: {error.strerror}; choose another place")


def cache_folder() -> Path:
    """The system's cache folder for this program: for what it can fetch or make again."""
    from platformdirs import user_cache_path

    return user_cache_path("firstlight", appauthor=False)
