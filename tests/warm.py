"""Processes of this Python that begin with PyTorch and the package loaded.

They are forks of one process that loaded them. To start Python and load them takes two seconds of
processor time, a fork a hundredth of that. For tests whose subject is another process, and not how
Python or the package begins: see the fixture ``warm`` in ``conftest.py``.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

from firstlight import locks

LOADED = (
    "firstlight.cli.app",
    "firstlight.library",
    "firstlight.report.charts",
    "firstlight.studio.training",
    "firstlight.verbs.bench",
    "firstlight.verbs.finish",
    "firstlight.verbs.fit",
    "firstlight.verbs.several",
)
"""With all that they load."""
MOST_BYTES = 150_000
"""Of a request: the words and the environment of a process."""
MOST_FILES = 1024
PR_SET_CHILD_SUBREAPER = 36
PLAIN, PYTHON = subprocess.Popen, sys.executable


class Forks:
    """The loaded process, started with the first fork that is asked for."""

    able = True

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._loaded: subprocess.Popen[bytes] | None = None

    def number_of(self, given: dict[str, Any], streams: list[int]) -> int:
        """Fork a process with these standard streams; returns its number. It is our child."""
        ours, its = socket.socketpair()
        with ours, its, _orphans_are_ours():
            words = json.dumps(given).encode()
            assert len(words) < MOST_BYTES
            socket.send_fds(self._begun(), [words], [*streams, its.fileno()])
            its.close()
            number = int(ours.recv(20) or 0)
        assert number, "the process that forks has died"
        return number

    def popen(self) -> type[subprocess.Popen[Any]]:
        """Return a class to use in place of ``subprocess.Popen``."""
        return type("Popen", (Popen,), {"forks": self})

    def end(self) -> None:
        if self._line is not None and self._loaded is not None:
            self._line.close()
            self._loaded.wait()

    def _begun(self) -> socket.socket:
        if self._line is None:
            self._line, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            number = its.fileno()
            words = [sys.executable, __file__, str(number)]
            nothing = subprocess.DEVNULL
            self._loaded = PLAIN(words, pass_fds=[number], stdin=nothing, stdout=nothing)
            its.close()
        return self._line


@contextmanager
def _orphans_are_ours() -> Iterator[None]:
    """A process that loses its parent in here becomes our child."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Popen(subprocess.Popen[Any]):
    """``subprocess.Popen``, which forks where a process of this Python is asked for."""

    forks: ClassVar["Forks | OfItself"]

    def _execute_child(self, args: Any, *given: Any) -> None:
        """Replace what starts a process, and leave the rest of the class as it is."""
        words = [os.fspath(word) for word in args] if isinstance(args, list) else []
        if words[:1] != [PYTHON] or not self.forks.able:
            super()._execute_child(args, *given)  # type: ignore[misc]
            return
        _executable, _preexec, _close, _fds, folder, environment, *rest = given
        _startup, _flags, _shell, *pipes, _restore, _gid, _gids, _uid, _mask, session, _ = rest
        variables = os.environ if environment is None else environment
        wanted = {
            "words": words[1:],
            "folder": os.fspath(folder or Path.cwd()),
            "environment": {name: os.fspath(value) for name, value in variables.items()},
            "session": session,
        }
        read_in, _, _, out, _, error = pipes
        streams = [own if pipe == -1 else pipe for own, pipe in enumerate((read_in, out, error))]
        self.pid = self.forks.number_of(wanted, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def main(line: socket.socket) -> None:
    """Load, and fork for each request until the other end is closed."""
    for name in LOADED:
        import_module(name)
    gc.freeze()  # what is collected no more is not copied for a fork either
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that ended are not waited for
    while True:
        words, places, *_ = socket.recv_fds(line, MOST_BYTES, 4)
        if not words:
            return
        if os.fork() == 0:
            line.close()
            _become(json.loads(words), places)
            return
        for place in places:
            os.close(place)


def _become(given: dict[str, Any], places: list[int]) -> None:
    """Be the process that was asked for, until its program ends."""
    between = os.getpid()
    if os.fork():
        os._exit(0)  # so that the test's process becomes the parent
    while os.getppid() == between:
        os.sched_yield()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, told = places
    _with_streams(streams)
    os.write(told, str(os.getpid()).encode())
    for place in places:
        os.close(place)
    _begin(given)


def _with_streams(streams: list[int]) -> None:
    for number, place in enumerate(streams):
        os.dup2(place, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115


def _begin(given: dict[str, Any]) -> None:
    """Run the program in its session, folder and environment."""
    if given["session"]:
        os.setsid()
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["environment"])
    words = [word for word in given["words"] if word not in ("-u", "-P")]
    if words[:2] != ["-m", "torch.distributed.run"]:  # whose processes are found by their words
        subprocess.Popen = type("Popen", (Popen,), {"forks": OfItself()})  # type: ignore[assignment,misc]
    _run(words)


class OfItself:
    """Forks of a fork: the processes that it starts."""

    @property
    def able(self) -> bool:
        return threading.active_count() == 1

    def number_of(self, given: dict[str, Any], streams: list[int]) -> int:
        number = os.fork()
        if number == 0:
            _end_with(given, streams)
        return number


def _end_with(given: dict[str, Any], streams: list[int]) -> NoReturn:
    """Run a program in place of the rest of this process."""
    code = 1
    try:
        _with_streams(streams)
        os.closerange(3, MOST_FILES)  # and with them the locks that are not its own
        locks._ours.clear()
        _begin(given)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _run(words: list[str]) -> None:
    """Run a program as Python runs ``-c PROGRAM``, ``-m MODULE`` or a file."""
    listed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [str(Path.cwd()), *filter(None, listed)]
    kind, *rest = words
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(module))
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
