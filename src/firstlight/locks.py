"""Locks that the system releases when a process ends, for whatever reason.

All locks of this program are taken here. ``filelock`` comes with PyTorch, but it can check a lock
only by taking it, which would block others.

On Linux and macOS, ``flock`` keeps others out. A record lock beside it serves those who only check:
``F_GETLK`` reports a lock without taking one, so checking never blocks anyone. On Windows the first
byte of the file is locked, and a check tries to read it.
"""

import os
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A process does not see its own record locks, and closing the file a second time would drop them.
_ours: set[tuple[int, int]] = set()
_changing = threading.Lock()

# Do not follow links, or wait for the other end of a pipe.
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

PAUSE = 0.05
"""Seconds between two attempts while waiting."""


@contextmanager
def held(path: Path, *, passing: bool = False) -> Iterator[bool]:
    """Hold the lock of the file ``path``, which is created if necessary.

    Yields whether the lock was obtained; True if the file system has no locks. With ``passing`` the
    file is removed when the lock is released. Raises ``OSError`` if the file is not writable.
    """
    with _changing:
        descriptor = None if _identity(path) in _ours else _locked(path)
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
            if passing and not _OPEN_FILES_STAY:  # while nobody else can have it
                _remove(path)
            os.close(descriptor)
            if passing and _OPEN_FILES_STAY:  # if another process has it open, that one removes it
                _remove(path)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process or thread is in this block with ``path``.

    The file is removed at the end. On a file system without locks, nobody waits. Raises ``OSError``
    if the file is not writable.
    """
    while True:
        with held(path, passing=True) as free:
            if free:
                yield
                return
        time.sleep(PAUSE)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of ``path``, as far as the system can tell.

    Takes no lock, needs no write permission, and returns False if there is no such file.
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
    """Whether the disk of a folder supports locks. Raises ``OSError`` if no file can be created
    there."""
    # Not NamedTemporaryFile, which cannot be opened a second time on Windows.
    first, name = tempfile.mkstemp(dir=folder, prefix=".locks-")
    second = os.open(name, os.O_RDWR | _PLAIN)
    try:
        return try_lock(first) is True and try_lock(second) is False
    finally:
        os.close(first)
        os.close(second)
        Path(name).unlink()


def _locked(path: Path) -> int | None:
    """Return a descriptor of the file ``path`` with its lock; None if another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o666)
        if try_lock(descriptor) is False:
            os.close(descriptor)
            return None
        status = os.fstat(descriptor)
        if _OPEN_FILES_STAY or _identity(path) == (status.st_dev, status.st_ino):
            return descriptor
        os.close(descriptor)  # the previous owner removed the file between the two calls


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


if sys.platform == "win32":
    import msvcrt

    _OPEN_FILES_STAY = True  # open files cannot be removed

    def try_lock(descriptor: int) -> bool | None:
        """Lock an open file. Returns False if another process has it, and None if locks are not
        supported."""
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"\n")  # the byte to lock and read must exist
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return None
        return True

    def _show(descriptor: int) -> None:
        """Does nothing: the lock itself is visible."""

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

    _OPEN_FILES_STAY = False

    # The start, length, process, type and origin of a lock; BSD orders them differently.
    _LINUX = sys.platform.startswith("linux")
    _RECORD = struct.Struct("hhqqi16x" if _LINUX else "qqihh16x")

    def try_lock(descriptor: int) -> bool | None:
        """Lock an open file. Returns False if another process has it, and None if locks are not
        supported."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _show(descriptor: int) -> None:
        """Set the record lock; if it and ``flock`` are the same, ``flock`` is visible already."""
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
