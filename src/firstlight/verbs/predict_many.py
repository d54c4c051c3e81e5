"""Predict millions of pictures with several processes on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.locks import has_locks
from firstlight.progress import CountingBar, PaceBar
from firstlight.threads import usable_threads
from firstlight.verbs.answering import Answering, Wanted

COUNT_SECONDS = 1.0
"""Seconds between two listings of the existing files."""
# Not with multiprocessing, which would import the caller's script again.
_CHILD = """
import json, sys
given = json.loads(sys.stdin.readline())
sys.path[:] = given["path"]
from firstlight.verbs.predict_many import help_out
help_out(given)
"""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The content of the folder of answers after all is done."""

    path: Path
    images: int
    files: int
    """Number of files with answers."""
    unread: int
    """Number of pictures that could not be read; their ``error`` says why."""
    answered: int
    """Number of images that had no answer before."""
    calibrated: bool
    """Whether the model can answer "unknown"."""


def predict_many(wanted: Wanted, workers: int | None = None, *, quiet: bool = False) -> Answered:
    """Write predictions of all pictures into files in a folder, and skip those already there. A
    changed file is reported and answered again.

    ``workers`` processes work, including this one; by default one per processor, or one if another
    device computes. Other processes with the same ``wanted`` share the work. Raises ``UserError``
    if the folder belongs to other work; ``DataError`` for missing pictures, a damaged shard and
    full storage; and ``RunInterruptedError`` on Ctrl-C. Finished answers are kept, and the same
    call continues.
    """
    if workers is not None and workers < 1:
        raise UserError(f"wanted at least 1 worker, got {workers}")
    with CountingBar("indexing", "shards", quiet=quiet) as indexing:
        work = Answering(wanted, indexing)
    work.begin()
    changed = work.remove_changed()
    before = work.missing()
    if before or work.unread() is None:
        with PaceBar("answering", quiet=quiet) as bar:
            if changed:
                bar.say(_again(wanted.out, changed))
            count = _workers(workers, wanted, work, bar)
            count = max(1, min(count, len(before)))
            _all_work(work, wanted, count, bar)
            unread = work.finish()
    else:
        unread = work.unread() or 0
    return Answered(
        path=wanted.out,
        images=len(work),
        files=len(work.chunks),
        unread=unread,
        answered=sum(len(work.chunks[number]) for number in before),
        calibrated=work.model.calibration is not None,
    )


def _again(out: Path, changed: list[str]) -> str:
    if len(changed) == 1:
        return f"{out / changed[0]}: changed since it was written, so its images are answered again"
    return (
        f"{out}: {len(changed):,} files changed since they were written, the first is "
        f"{changed[0]}; their images are answered again"
    )


def _workers(asked: int | None, wanted: Wanted, work: Answering, bar: PaceBar) -> int:
    """Return the number of processes, including this one."""
    if wanted.code is not None and not wanted.code.path:
        if asked is not None and asked > 1:
            raise UserError(
                f"{wanted.model}: its network is a function that is not in a file, so another "
                "process cannot build it. Leave out workers, or name it as FILE.py:FUNCTION"
            )
        return 1
    if asked is None:
        on_processor = getattr(work.model, "device", "cpu") == "cpu"
        asked = usable_threads() if on_processor else 1
    if asked > 1 and not has_locks(work.out):
        bar.say(f"{work.out}: this disk does not support locks, so one process does all the work")
        return 1
    return asked


def _all_work(work: Answering, wanted: Wanted, workers: int, bar: PaceBar) -> None:
    with _helpers(wanted, workers, bar) as helpers:
        shown = [0.0, 0]

        def told(of_chunk: int) -> None:
            helpers.look()
            now = time.monotonic()
            if now - shown[0] >= COUNT_SECONDS or not of_chunk:
                left = sum(len(work.chunks[number]) for number in work.missing())
                shown[:] = now, len(work) - left
            bar(min(len(work), int(shown[1]) + of_chunk), len(work))

        try:
            told(0)
            work.work(_threads_of(workers), told)
            helpers.wait()
        except KeyboardInterrupt as error:
            left = sum(len(work.chunks[number]) for number in work.missing())
            raise RunInterruptedError(
                f"stopped: {len(work) - left:,} of {len(work):,} images are answered in "
                f"{wanted.out}. Run the same command to continue"
            ) from error


class _Helpers:
    """Other processes that do the same work, and end with this one."""

    def __init__(self, bar: PaceBar) -> None:
        self._bar = bar
        self._running: list[subprocess.Popen[str]] = []

    def start(self, given: dict[str, Any]) -> None:
        """Start another process with these values."""
        with _deaf_to_interrupts():
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._running.append(process)
        assert process.stdin is not None, "asked for above"
        with suppress(BrokenPipeError):  # it died, which is detected below
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()

    def look(self) -> None:
        """Report processes that died. Raises the error that stopped one, if the user can fix it."""
        for process in list(self._running):
            if process.poll() is not None:
                self._ended(process)

    def wait(self) -> None:
        """Wait until all have ended."""
        for process in list(self._running):
            process.wait()
        self.look()

    def stop(self) -> None:
        """Stop them now."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.communicate()

    def _ended(self, process: "subprocess.Popen[str]") -> None:
        self._running.remove(process)
        said, _ = process.communicate()
        if process.returncode == 0:
            return
        if said:
            kind = DataError if process.returncode == DataError.exit_code else UserError
            raise kind(json.loads(said))
        died = f"ended with exit code {process.returncode}"
        if process.returncode < 0:
            died = (
                f"was killed by signal {-process.returncode}, perhaps because it ran out of memory"
            )
        self._bar.say(f"worker {process.pid} {died}; the others take over its images")


@contextmanager
def _helpers(wanted: Wanted, workers: int, bar: PaceBar) -> Iterator[_Helpers]:
    """Start all workers except this one, and stop them afterwards."""
    helpers = _Helpers(bar)
    given = {"wanted": wanted.to_json(), "path": sys.path, "threads": _threads_of(workers)}
    try:
        for _ in range(workers - 1):
            helpers.start(given)
        yield helpers
    finally:
        helpers.stop()


def _threads_of(workers: int) -> int:
    """Return the number of threads per worker."""
    return max(1, usable_threads() // workers)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside the block ignore Ctrl-C, which this process handles."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def help_out(given: dict[str, Any]) -> None:
    """The main function of a helper process: work, and report what stopped it."""
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        work = Answering(Wanted.from_json(given["wanted"]))
        work.begin()
        work.work(given["threads"])
    except UserError as error:
        sys.stdout.write(json.dumps(str(error)))
        sys.stdout.flush()
        os._exit(error.exit_code)


def _end_with_the_first() -> None:
    """End this process with the first, which holds the other end of standard input."""
    while os.read(0, 1):
        pass
    os._exit(1)
