"""Write a file as a whole or not at all; and the place for what can be made again."""

import errno
import os
from pathlib import Path

from firstlight.errors import DataError, UserError

# What the storage cannot do, whatever the name.
STORAGE = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG}
STORAGE |= {getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has none


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` through a temporary name beside it, of which nothing is left behind.

    Raises ``OSError``, also where ``path`` is there and no regular file: a device stays one.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is there, and is no regular file")
    blob = content.encode() if isinstance(content, str) else content
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


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
