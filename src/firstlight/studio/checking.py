"""What ``data check`` says of a folder: ``python -m firstlight.studio.checking WORD [--labels]``.

A process of its own, in the working folder: it takes minutes for many pictures, and much memory.
Its result is kept in ``checks/``, a folder for each set.

=============  ====================================================================
.lock          held by the process that checks
progress.json  what is being done, and how many pictures of how many are done
found.json     what was found, and a mark of the pictures that were checked
failed.json    why it could not be checked
=============  ====================================================================
"""

import hashlib
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firstlight.data.check import check
from firstlight.data.folder import list_folder
from firstlight.data.listing import Listing
from firstlight.errors import UserError
from firstlight.files import make_folder, write_whole
from firstlight.locks import held, is_held
from firstlight.plain import read_json, write_json
from firstlight.studio.worker import started
from firstlight.studio.workshop import Workshop

LABELS = "--labels"
EVERY = 0.4
"""Seconds between two notes of the progress."""


class Check:
    """The check of one set."""

    def __init__(self, workshop: Workshop, word: str) -> None:
        self._workshop, self._word = workshop, word
        name = hashlib.blake2b(word.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()
        self._folder = workshop.checks / name

    def start(self, *, labels: bool = False) -> "subprocess.Popen[bytes]":
        """Start checking in a process that outlives this one, with ``labels`` also for wrong ones.
        If one checks already, the new one ends."""
        words = [self._word, LABELS] if labels else [self._word]
        return started("firstlight.studio.checking", words, self._workshop)

    def run(self, *, labels: bool = False) -> None:
        """Check, and note what was found."""
        make_folder(self._folder)
        with held(self._folder / ".lock") as free:
            if not free:
                return
            (self._folder / "failed.json").unlink(missing_ok=True)
            self._note("progress.json", {"done": 0, "all": 0})
            try:
                self._note("found.json", self._found(labels))
            except UserError as error:
                self._note("failed.json", {"message": str(error)})
            except Exception as error:
                traceback.print_exc()
                self._note("failed.json", {"message": f"Internal error: {error!r}"})

    @property
    def is_running(self) -> bool:
        """Whether a process checks it now."""
        return is_held(self._folder / ".lock")

    @property
    def progress(self) -> dict[str, Any]:
        """How far it is."""
        return self._read("progress.json")

    @property
    def failure(self) -> str:
        """Why it could not be checked; empty if it could."""
        return str(self._read("failed.json").get("message", ""))

    @property
    def found(self) -> dict[str, Any]:
        """What was found the last time; empty before."""
        return self._read("found.json")

    @contextmanager
    def _bar(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Note how far something is."""
        last = time.monotonic()

        def note(done: int, every: int) -> None:
            nonlocal last
            if time.monotonic() - last > EVERY or done == every:
                last = time.monotonic()
                self._note("progress.json", {"what": what, "done": done, "all": every})

        yield note

    def _found(self, labels: bool) -> dict[str, Any]:
        path = self._workshop.root / self._word
        listing = list_folder(path, least=1)
        if labels:
            from firstlight.verbs.check import check_pictures  # loads PyTorch, which takes seconds

            checked = check_pictures(path, labels=True, bars=self._bar)
        else:
            with self._bar("decoding") as bar:
                checked = check(listing, progress=bar)
        return {
            "mark": mark(listing),
            "labels": labels,
            "suggested": {
                one.name: one.suggested for finding in checked.findings for one in finding.suspects
            },
            "shape": checked.shape_reason,
            "notes": checked.notes,
            "findings": [
                {
                    "kind": finding.kind,
                    "severe": finding.severe,
                    "text": finding.text,
                    "names": list(
                        dict.fromkeys(name for group in finding.groups for name in group)
                    ),
                    "leave_out": finding.exclude,
                }
                for finding in checked.findings
            ],
        }

    def _note(self, name: str, values: dict[str, Any]) -> None:
        write_whole(self._folder / name, write_json(values))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            values = read_json((self._folder / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}


def mark(listing: Listing) -> str:
    """Name the pictures of a listing, with their classes."""
    digest = hashlib.blake2b("\0".join(listing.class_names).encode(), digest_size=16)
    for one in listing.pictures:
        digest.update(f"\0{one.name}\0{one.told}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


if __name__ == "__main__":
    Check(Workshop(Path.cwd()), sys.argv[1]).run(labels=LABELS in sys.argv[2:])
