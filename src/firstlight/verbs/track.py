"""Copy a run to experiment trackers: while it is trained, or later.

One process per tracker copies the content of the run folder (``firstlight.track``). Nothing is sent
to it, so it cannot delay the training, and it cannot change a bit of it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any

import firstlight
from firstlight.errors import DataError, UserError
from firstlight.plain import read_json
from firstlight.progress import Display, Silent
from firstlight.runs.folder import RunFolder
from firstlight.track import refuse_unusable
from firstlight.track.copying import trackers_of
from firstlight.untrusted import one_line, shell_word

PATIENCE = 60.0
"""Seconds without a message after which a tracker is given up, once the training is over."""
SHORT_PATIENCE = 10.0
"""The same if the training was stopped, because the user is waiting."""
ENDING_SECONDS = 10.0
"""Seconds that a tracker has to shut down after it was given everything."""
Say = Callable[[str], None]
Line = dict[str, Any]


def track(folder: RunFolder, names: Sequence[str], say: Say) -> list[str]:
    """Copy a run that is not being trained to trackers, by default those that it was copied to
    before. Returns their names.

    What a tracker already has is not copied again. Raises ``UserError`` for an unknown tracker, if
    its package is not installed, and if none is named; ``DataError`` if one could not be given
    everything.
    """
    wanted = list(dict.fromkeys(names or trackers_of(folder)))
    if not wanted:
        raise UserError(
            f"{folder} was not copied to a tracker before. Name one, such as: firstlight track "
            f"{shell_word(folder)} --to tensorboard"
        )
    refuse_unusable(wanted)
    with folder.locked():
        copies = Copies(folder, wanted, say)
        copies.close(PATIENCE)
    if failed := [f"{name}: {why}" for name, why in copies.failures().items()]:
        raise DataError(f"{folder} was not copied whole. {'; '.join(failed)}")
    return wanted


@contextmanager
def copied(folder: RunFolder, names: Sequence[str], display: Display) -> Iterator["Copies"]:
    """Copy a run while it is trained in the block. Errors are reported, even if the display shows
    nothing, and do not end the training."""
    warn = _to_stderr if type(display) is Silent else display.say
    copies = Copies(folder, names, display.say, warn)
    try:
        yield copies
    finally:
        copies.close(PATIENCE if folder.finished else SHORT_PATIENCE)


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Copies:
    """The processes that copy a run, one per tracker."""

    def __init__(
        self, folder: RunFolder, names: Sequence[str], say: Say, warn: Say | None = None
    ) -> None:
        """``say`` is called with where the copies are; ``warn`` is called with each error as it
        happens."""
        self._folder, self._say, self._warn = folder, say, warn
        self._failed: dict[str, str] = {}
        self._running: dict[str, _Process] = {}
        for name in names:
            try:
                self._running[name] = _Process(name, folder)
            except OSError as error:
                self._fail(name, f"its process could not be started: {error.strerror}")

    def failures(self) -> dict[str, str]:
        """Errors by tracker."""
        return dict(self._failed)

    def look(self) -> None:
        """Report what has happened since the last call, without waiting."""
        for name, process in list(self._running.items()):
            while (line := process.hear(0)) is not None:
                self._hear(name, line)

    def close(self, patience: float) -> None:
        """Let the processes copy the rest, and end them, including those that are silent for
        ``patience`` seconds."""
        for process in self._running.values():
            process.finish()
        try:
            for name, process in list(self._running.items()):
                while name in self._running:
                    line = process.hear(patience)
                    if line is None:
                        self._fail(name, f"it gave no sign of life for {patience:.0f} seconds")
                    else:
                        self._hear(name, line)
        except KeyboardInterrupt:
            for name in list(self._running):
                self._fail(name, "stopped")

    def _hear(self, name: str, line: Line) -> None:
        if where := line.get("where"):
            self._say(one_line(f"{name}: {where}"))
        if "failed" in line:
            self._fail(name, str(line["failed"]), goes_on=True)
        if line.get("done"):
            if self._failed.pop(name, "") and self._warn is not None:
                self._warn(f"{name}: in the end the whole run was copied")
            self._end(name, ENDING_SECONDS)
        elif "done" in line or "ended" in line:
            if name not in self._failed:
                self._fail(name, "its process ended before everything was copied")
            self._end(name)

    def _fail(self, name: str, why: str, *, goes_on: bool = False) -> None:
        """Record an error, and report a tracker's first one."""
        why = why.rstrip(".")
        if name not in self._failed and self._warn is not None:
            self._warn(
                one_line(
                    f"{name}: {why}. The training does not depend on it. To copy the run later: "
                    f"firstlight track {shell_word(self._folder)} --to {name}"
                )
            )
        self._failed[name] = why
        if not goes_on:
            self._end(name)

    def _end(self, name: str, seconds: float = 0.0) -> None:
        if (process := self._running.pop(name, None)) is not None:
            process.end(seconds)


class _Process:
    """The process that copies to one tracker."""

    def __init__(self, name: str, folder: RunFolder) -> None:
        package = str(Path(firstlight.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "firstlight.track", name, str(folder.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C is for the training, which then ends this process.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._lifeline, self._lines = self._process.stdin, SimpleQueue[Line]()
        Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    def hear(self, seconds: float) -> Line | None:
        """Return its next message, or None if none comes within ``seconds``. ``ended`` is the last
        one."""
        with suppress(Empty):
            return self._lines.get(timeout=seconds) if seconds else self._lines.get_nowait()
        return None

    def finish(self) -> None:
        """Make it copy the rest and end."""
        with suppress(OSError):
            self._lifeline.close()

    def end(self, seconds: float) -> None:
        """End the process, by force after ``seconds`` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._process.kill()
        self._process.wait()
        self.finish()


def _read(out: IO[bytes], lines: "SimpleQueue[Line]") -> None:
    with out:
        for line in out:
            with suppress(ValueError):
                lines.put(read_json(line))
    lines.put({"ended": True})
