"""The process that copies a run to a tracker: ``python -m firstlight.track NAME FOLDER``.

It checks the run folder every second until its standard input ends, which means that the training
has ended for any reason. It writes JSON to its standard output, one line per message.
"""

import os
import sys
import time
from pathlib import Path
from threading import Event, Thread

from firstlight.plain import write_json
from firstlight.runs.folder import RunFolder
from firstlight.track.copying import Copying
from firstlight.untrusted import without_password

SECONDS = 1.0
"""Seconds between two checks."""
WAIT, LONGEST_WAIT = 5.0, 60.0
"""Seconds before the next attempt after a failure; doubled each time, up to a maximum."""
LONGEST = 150
"""Most characters of a reported error."""


class Copier:
    """Copies a run as well as the tracker allows."""

    def __init__(self, name: str, folder: Path, told: int) -> None:
        self._name, self._folder, self._told = name, RunFolder(folder), told
        self._copying: Copying | None = None
        self._failed = False
        self._wait, self._again = WAIT, 0.0

    def tell(self, **line: str | bool) -> None:
        """Send a line to the training, which may have ended."""
        try:
            os.write(self._told, f"{write_json(line, ascii_only=True)}\n".encode())
        except OSError:
            return

    def look(self, *, last: bool = False) -> bool:
        """Copy what is new; return whether that worked."""
        if not last and time.monotonic() < self._again:
            return False
        try:
            if self._copying is None:
                self._copying = Copying(self._folder, self._name)
                self.tell(where=self._copying.tracker.where)
            if last:
                self._copying.finish()
            else:
                self._copying.look()
        except Exception as error:  # a tracker may raise anything
            if not self._failed:
                self.tell(failed=_in_a_line(error))
            self._failed = True
            self._again = time.monotonic() + self._wait
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            return False
        self._wait = WAIT
        self.tell(alive=True)
        return True


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    text = without_password(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def main() -> None:
    name, folder = sys.argv[1:]
    lifeline, told, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # trackers print, and one asks for a key
        os.dup2(nothing, descriptor)
    ended = Event()

    def wait() -> None:
        while os.read(lifeline, 1):
            pass
        ended.set()

    Thread(target=wait, daemon=True).start()
    copier = Copier(name, Path(folder), told)
    while True:
        last = ended.is_set()
        worked = copier.look(last=last)
        if last:
            copier.tell(done=worked)
            os.close(told)
            return
        ended.wait(SECONDS)


if __name__ == "__main__":
    main()
