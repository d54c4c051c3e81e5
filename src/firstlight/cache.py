"""The cache: its content, its size limit, and the order of removal.

Shelves made from the user's own data share one limit; the least recently used entries are removed
first. Data sets, backbones and copies of models stay until they are cleared by name.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import UserError
from firstlight.files import cache_folder

ROOM = "FIRSTLIGHT_CACHE"
"""Environment variable with the limit, such as 40GB."""
DEFAULT_ROOM = 32 * 10**9
MADE = {
    "pictures": "your pictures, decoded and resized",
    "features": "backbone features of your pictures",
    "archives": "archives of pictures, unpacked",
}
"""Shelves that share the limit."""
OTHERS = {
    "shards": "copies of shards, with their indexes",
    "backbones": "pretrained weights",
    "hub": "file lists of data sets and runs on the Hugging Face hub",
    "models": "copies of bundled models, with reports and evaluations",
    "runs": "runs of the Hugging Face hub, with reports and evaluations",
}
"""Other shelves. ``shards`` has a limit of its own."""
CLEARED = (*MADE, "shards")
"""Shelves whose entries can be made again from the data."""
IN_USE_SECONDS = 2 * 86400
"""An entry opened this recently may belong to a training that still reads it."""
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder on a shelf."""

    path: Path
    size: int
    """Bytes."""
    used: float
    """When it was last opened, in seconds since 1970."""


def size_named(variable: str, default: int) -> int:
    """Return the bytes that an environment variable sets, such as 40GB. Raises ``UserError`` for an
    invalid size."""
    given = os.environ.get(variable, "")
    text = given.strip().upper().replace(" ", "")
    if not text:
        return default
    number = text.rstrip("KMGTB")
    try:
        found = int(float(number) * _UNITS[text[len(number) :]])
    except (KeyError, ValueError, OverflowError) as error:
        raise UserError(f"{variable}={given}: wanted a size such as 40GB") from error
    if found <= 0:
        raise UserError(f"{variable}={given}: wanted a size above zero, such as 40GB")
    return found


def entries(shelf: Path) -> list[Entry]:
    """Return the entries of a shelf, least recently used first; empty if there is no shelf. Locks
    are left out, because a process may hold one."""
    found = list[Entry]()
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(shelf) as children:
        for child in (one for one in children if not one.name.endswith(".lock")):
            with suppress(OSError):  # another process removes it
                status = child.stat(follow_symlinks=False)
                size = sum(_sizes(child)) if child.is_dir(follow_symlinks=False) else status.st_size
                found.append(Entry(path=Path(child.path), size=size, used=status.st_mtime))
    return sorted(found, key=lambda entry: entry.used)


def _sizes(folder: os.DirEntry[str]) -> Iterator[int]:
    for path, _, names in os.walk(folder.path):
        for name in names:
            with suppress(OSError):
                yield (Path(path) / name).lstat().st_size


def opened(entry: Path) -> None:
    """Record that an entry is used now."""
    with suppress(OSError):
        os.utime(entry)


def bound() -> int:
    """Return the limit in bytes of the ``MADE`` shelves. Raises ``UserError`` for an invalid
    size."""
    return size_named(ROOM, DEFAULT_ROOM)


def make_room() -> None:
    """Remove the least recently used entries until the limit is kept. Entries opened recently stay,
    even beyond the limit. Raises ``UserError`` for an invalid limit."""
    most, now = bound(), time.time()
    made = [entry for name in MADE for entry in entries(cache_folder() / name)]
    total = sum(entry.size for entry in made)
    for entry in sorted(made, key=lambda entry: entry.used):
        if total <= most or now - entry.used < IN_USE_SECONDS:
            return
        remove(entry.path)
        total -= entry.size


def remove(entry: Path) -> None:
    """Remove a file or a folder. It is renamed first, so that nobody finds half of it."""
    gone = entry.with_name(f".{entry.name}.gone")
    with suppress(OSError):
        entry.rename(gone)
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone, ignore_errors=True)
        else:
            gone.unlink()
