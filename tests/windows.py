"""A model of Windows, on Linux: call ``as_on_windows()`` first, then import firstlight.

It removes what Windows lacks, and refuses what Windows refuses:

- firstlight's modules see ``sys.platform`` win32 and ``os.name`` nt, and neither ``fcntl`` nor
  ``fork``, ``pread``, ``SIGKILL`` and the like; modules that they import from elsewhere see Linux.
- A file that this process has open or mapped can be neither removed nor replaced, by any code.
- A folder with an open file cannot be renamed, and no folder can be renamed to an existing name.
- Names with ``: ? * < > " | \\``, names of devices, and names that end in a dot or a space cannot
  be created, nor paths of 260 characters.
- A temporary file of Python's own kind cannot be opened by another process.
- ``msvcrt.locking`` keeps others from reading and writing the bytes.
- Output is cp1252, and processes are spawned.

It does not model file permissions, nor names that differ only by case.
"""

import builtins
import errno
import multiprocessing
import os
import re
import signal
import struct
import sys
import tempfile
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import ModuleType, SimpleNamespace
from typing import Any

NO_MODULES = {"fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "posix", "syslog"}
NOT_IN_OS = {
    *("fork", "forkpty", "pread", "pwrite", "preadv", "getuid", "geteuid", "getloadavg", "uname"),
    *("sched_getaffinity", "mkfifo", "mknod", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "killpg"),
    *("setsid", "chown", "fchown", "statvfs", "sysconf", "O_CLOEXEC", "sync", "posix_fadvise"),
}
NOT_IN_SIGNAL = {
    *("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGCHLD", "SIGQUIT"),
    *("alarm", "setitimer", "pthread_sigmask", "sigwait", "pause"),
}
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
MOST = 259
_REFUSED = PermissionError(errno.EACCES, "Permission denied")


class Seen:
    """A module as firstlight sees it: some names are removed, some are replaced."""

    def __init__(self, real: ModuleType, gone: set[str], **others: Any) -> None:
        vars(self).update(_real=real, _gone=gone, **others)

    def __getattr__(self, name: str) -> Any:
        if name in self._gone:
            raise AttributeError(f"Windows has no {self._real.__name__}.{name}")
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)


# The start and length of a lock that belongs to an open file, as on Windows.
_LOCK = struct.Struct("hhqqi4x")
_SET, _GET = 37, 36


def locking(descriptor: int, mode: int, length: int) -> None:
    """Do what ``msvcrt.locking`` does, from the current position, without waiting."""
    import fcntl

    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, os.lseek(descriptor, 0, 1), length, 0)
    try:
        fcntl.fcntl(descriptor, _SET, asked)
    except (BlockingIOError, PermissionError):
        raise _REFUSED from None


def _check_bytes(descriptor: int) -> None:
    import fcntl

    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, os.lseek(descriptor, 0, 1), 1, 0)
    told = fcntl.fcntl(descriptor, _GET, asked)
    if _LOCK.unpack(told)[0] != fcntl.F_UNLCK:
        raise _REFUSED


def read(descriptor: int, length: int) -> bytes:
    """Do what ``os.read`` does, unless another process holds a lock."""
    _check_bytes(descriptor)
    return os.read(descriptor, length)


def write(descriptor: int, content: bytes) -> int:
    """Do what ``os.write`` does, unless another process holds a lock."""
    _check_bytes(descriptor)
    return os.write(descriptor, content)


def open_folder_never(path: Any, flags: int, mode: int = 0o777, **where: Any) -> int:
    """Do what ``os.open`` does, but never open a folder."""
    if not where and Path(path).is_dir():
        raise _REFUSED
    return os.open(path, flags, mode, **where)


def _in_use() -> tuple[set[tuple[int, int]], list[str]]:
    """Return the files that this process has open or mapped: their identities, and their paths."""
    found, places = set(), []
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            status = os.stat(f"/proc/self/fd/{entry}")  # noqa: PTH116
            places.append(os.readlink(f"/proc/self/fd/{entry}"))  # noqa: PTH115
        except OSError:
            continue
        if S_ISREG(status.st_mode):
            found.add((status.st_dev, status.st_ino))
        else:
            places.pop()
    with _real_open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            parts = line.rstrip("\n").split(None, 5)
            if len(parts) == 6 and parts[5].startswith("/"):
                major, minor = (int(one, 16) for one in parts[3].split(":"))
                found.add((os.makedev(major, minor), int(parts[4])))
                places.append(parts[5])
    return found, places


_real_open, _real_rename = builtins.open, os.rename


def _refuse_in_use(path: Any, folder: int | None = None) -> None:
    try:
        status = os.stat(path, dir_fd=folder, follow_symlinks=False)
    except (OSError, ValueError):
        return
    found, places = _in_use()
    if S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) in found:
        raise PermissionError(errno.EACCES, "Permission denied: it is open", os.fspath(path))
    if S_ISDIR(status.st_mode) and folder is None:
        inside = os.path.realpath(path) + os.sep
        if any(place.startswith(inside) for place in places):
            raise PermissionError(errno.EACCES, "Permission denied: a file in it is open", path)


def _refuse_name(path: Any) -> None:
    if isinstance(path, int):
        return
    text = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
    if text.startswith(("/proc/", "/dev/", "/sys/")):
        return
    name = os.path.basename(text)  # noqa: PTH119 ("." is the folder one is in)
    if RESERVED.fullmatch(name) or FORBIDDEN.search(name):
        raise OSError(errno.EINVAL, "Invalid argument", text)
    if len(text) > MOST:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", text)


_temporary: set[str] = set()


def _audit(event: str, given: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = given
        if isinstance(flags, int) and flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            _refuse_name(path)
        if isinstance(path, str | os.PathLike) and os.fspath(path) in _temporary:
            raise _REFUSED
    elif event == "os.mkdir":
        _refuse_name(given[0])
    elif event == "os.rename":
        source, target = given[:2]
        _refuse_name(target)
        _refuse_in_use(source)
        _refuse_in_use(target)
        if Path(os.fsdecode(target)).is_dir():
            raise _REFUSED
    elif event == "os.remove":
        _refuse_in_use(given[0], given[1] if given[1] != -1 else None)


def _rename(source: Any, target: Any, **where: Any) -> None:
    """Do what ``os.rename`` does, but replace nothing."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "File exists", os.fspath(source), None, target)
    _real_rename(source, target, **where)


def _temporary_file(*given: Any, **named: Any) -> Any:
    file = _real_temporary(*given, **named)
    if named.get("delete", True):
        _temporary.add(file.name)
    return file


_real_temporary = tempfile.NamedTemporaryFile


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _importing}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "firstlight":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _importing(name: str, *given: Any) -> Any:
    if name in NO_MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}: Windows has none", name=name)
    return SEEN.get(name) or _real_import(name, *given)


_real_import = builtins.__import__
SEEN: dict[str, Any] = {
    "os": Seen(
        os, NOT_IN_OS, name="nt", read=read, write=write, open=open_folder_never, O_BINARY=0
    ),
    "sys": Seen(sys, set(), platform="win32"),
    "signal": Seen(signal, NOT_IN_SIGNAL),
    "msvcrt": SimpleNamespace(locking=locking, LK_NBLCK=2, LK_UNLCK=0),
}


def as_on_windows() -> None:
    """Switch to the model in this process, for good."""
    assert "firstlight" not in sys.modules, "it was imported before"
    sys.meta_path.insert(0, _Finder())
    sys.addaudithook(_audit)
    setattr(os, "rename", _rename)  # noqa: B010
    setattr(tempfile, "NamedTemporaryFile", _temporary_file)  # noqa: B010
    multiprocessing.set_start_method("spawn", force=True)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="cp1252")  # type: ignore[union-attr]
