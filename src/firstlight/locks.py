"""Locks that the system lets go when a process ends, however it ends.

On Linux and macOS ``flock`` keeps others out. A record lock beside it is for those who only ask:
``F_GETLK`` tells of a lock and takes none, so nobody who asks is ever in the way. On Windows the
first byte of the file is locked, and whoever asks tries to read it.
"""

import os
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A process does not see its own record locks, and closing the file once more would drop them.
_ours: set[tuple[int, int]] = set()
_changing = threading.Lock()

# Neither through a link nor waiting for a pipe's other end.
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock of the file at ``path``, which is made where it is missing.

    Gives whether the lock could be had; True where the file system has no locks. Raises
    ``OSError`` where the file cannot be written.
    """
    with _changing:
        ours = _identity(path) in _ours
        descriptor = None if ours else os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o666)
        if descriptor is not None and try_lock(descriptor) is False:
            os.close(descriptor)
            descriptor = None
        if descriptor is not None:
            _show(descriptor)
            identity = os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino
            _ours.add(identity)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        with _changing:
            _ours.discard(identity)
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of ``path``, as far as the system can tell.

    Takes no lock, needs no right to write, and says False where there is no such file.
    """
    with _changing:
        if _identity(path) in _ours:
            return True
        try:
            descriptor = os.open(path, os.O_RDONLY | _PLAIN)
        except OSError:
            return False
        try:
            return _seen(descriptor)
        finally:
            os.close(descriptor)


def has_locks(folder: Path) -> bool:
    """Whether the disk that a folder is on keeps locks. Raises ``OSError`` where no file can be
    made there."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".locks-") as first:
        second = os.open(first.name, os.O_RDWR | _PLAIN)
        try:
            return try_lock(first.fileno()) is True and try_lock(second) is False
        finally:
            os.close(second)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool | None:
        """Lock an open file. False: another process has it; None: there are no locks here."""
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"\n")  # what is to be locked and read must be there
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return None
        return True

    def _show(descriptor: int) -> None:
        """The lock shows by itself."""

    def _seen(descriptor: int) -> bool:
        try:
            os.read(descriptor, 1)
        except PermissionError:
            return True
        except OSError:
            pass
        return False

else:
    import fcntl

    # The start, length, process, kind and origin of a lock; BSD has them in another order.
    _LINUX = sys.platform.startswith("linux")
    _RECORD = struct.Struct("hhqqi16x" if _LINUX else "qqihh16x")

    def try_lock(descriptor: int) -> bool | None:
        """Lock an open file. False: another process has it; None: there are no locks here."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _show(descriptor: int) -> None:
        """Set the record lock; where it and ``flock`` are one, ``flock`` shows by itself."""
        with suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _seen(descriptor: int) -> bool:
        kind = 0 if _LINUX else 3
        asked = [0, 0, 0, 0, 0]
        asked[kind] = fcntl.F_WRLCK
        with suppress(OSError):
            told = fcntl.fcntl(descriptor, fcntl.F_GETLK, _RECORD.pack(*asked))
            return bool(_RECORD.unpack(told)[kind] != fcntl.F_UNLCK)
        return False
