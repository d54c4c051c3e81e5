"""Several processes behind one port.

Each loads the runs and accepts connections from the same sockets. A process that dies is replaced;
its connections are lost, but those of the others continue.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from socket import socket
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from firstlight.errors import UserError
from firstlight.serve.counters import FOLDER
from firstlight.serve.limits import Limits
from firstlight.serve.server import SHUTDOWN_SECONDS, Server, run

_PROCESSES = get_context("spawn")  # PyTorch's threads do not survive a fork
_AGAIN_SECONDS = 1.0
"""Delay before replacing a process that died during its start."""


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    line: Connection
    """The process sends None once it listens, or the error that prevents it. It stops when this end
    is closed, also by our death."""


class _StopError(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived."""


def serve_together(
    make: Callable[[], Any],
    limits: Limits,
    sockets: Sequence[socket],
    *,
    count: int,
    listening: Callable[[int], None],
) -> None:
    """Answer requests in ``count`` processes until SIGINT, SIGTERM or SIGHUP, then finish accepted
    ones.

    ``make`` is pickled, sent to each process, and creates the ASGI application there. ``listening``
    is called with the port once all processes listen. Raises ``UserError`` if one cannot start.
    """
    workers, ready = list[_Worker](), set[int]()
    with _counted_together() as folder, _stopped_by_signals():
        try:
            while True:
                while len(workers) < count:
                    workers.append(_started(make, limits, sockets))
                for worker in _that_spoke(workers):
                    try:
                        error = worker.line.recv()
                    except (EOFError, OSError):
                        began = worker.process.pid in ready
                        _bury(worker, folder, began=began, others=bool(ready))
                        workers.remove(worker)
                        continue
                    if error is not None:
                        raise error
                    ready.add(worker.process.pid or 0)
                    if len(ready) == count:
                        listening(int(sockets[0].getsockname()[1]))
        except _StopError:
            pass
        finally:
            _end(workers)


def _started(make: Callable[[], Any], limits: Limits, sockets: Sequence[socket]) -> _Worker:
    ours, its = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_work, args=(make, limits, list(sockets), its))
    process.start()
    its.close()  # only the process keeps its end, so that its death is noticed here
    return _Worker(process, ours)


def _that_spoke(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait for processes that sent something or died, and return them."""
    spoke = connection.wait([worker.line for worker in workers])
    return [worker for worker in workers if worker.line in spoke]


def _bury(worker: _Worker, folder: str, *, began: bool, others: bool) -> None:
    """Report a death. Raises ``UserError`` if no process has listened yet."""
    worker.process.join()
    mark_process_dead(worker.process.pid, folder)
    code = worker.process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    if not others:
        raise UserError(
            f"a process of the service {how} before it could answer. Each process has the runs "
            "in memory: try fewer --workers"
        )
    sys.stderr.write(f"process {worker.process.pid} {how}; starting another\n")
    if not began:
        time.sleep(_AGAIN_SECONDS)


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.line.close()
    with suppress(_StopError):  # a second signal does not wait
        limit = time.monotonic() + SHUTDOWN_SECONDS + 5
        for worker in workers:
            worker.process.join(max(0.0, limit - time.monotonic()))
    for worker in workers:
        worker.process.kill()
        worker.process.join()


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _StopError

    hang_up = getattr(signal, "SIGHUP", signal.SIGTERM)  # a closed terminal; not on Windows
    numbers = (signal.SIGINT, signal.SIGTERM, hang_up)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _counted_together() -> Iterator[str]:
    """Yield the folder in which processes started inside the block keep their counters."""
    with tempfile.TemporaryDirectory(prefix="firstlight-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get(FOLDER)
        os.environ[FOLDER] = folder
        try:
            yield folder
        finally:
            del os.environ[FOLDER]
            if before is not None:
                os.environ[FOLDER] = before


def _work(
    make: Callable[[], Any], limits: Limits, sockets: Sequence[socket], line: Connection
) -> None:
    """The main function of each process."""
    # A terminal sends Ctrl-C to every process; the first one decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def say(error: UserError | None) -> None:
        with suppress(OSError):  # the first process has ended
            line.send(error)

    try:
        server = Server(make(), limits=limits, listening=lambda _: say(None))
    except UserError as error:
        say(error)
        return

    def stop_with_the_first() -> None:
        with suppress(EOFError, OSError):
            line.recv()
        server.should_exit = True

    threading.Thread(target=stop_with_the_first, daemon=True).start()
    run(server, sockets)
