"""Heartbeats between the processes of a training, and how a lost process is reported."""

import os
import platform
import threading
import time
from contextlib import suppress
from typing import Any

from firstlight.errors import RunInterruptedError, UserError
from firstlight.launcher import first_here

LOST = 20.0
"""A process without a heartbeat for this many seconds is lost."""
_BEAT = 1.0


class ProcessLostError(RunInterruptedError):
    """Another process of the training is gone, and this one should report it."""


class ToldError(UserError):
    """What ended the training; another process reports it."""

    told = True

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process tells what is wrong")
        self.exit_code = exit_code


def name_of(rank: int) -> str:
    """The process's name in messages."""
    return f"process {rank} (pid {os.getpid()} on {platform.node() or 'this machine'})"


class Signs:
    """Sends a heartbeat each second and checks those of the others. If one stops, for example
    because a machine is lost, this process ends: it might wait for the other forever."""

    def __init__(self, store: Any, rank: int, names: list[str]) -> None:
        """``store``: torch.distributed's key-value store, which all processes share. ``names``:
        those of all processes, by rank, known here before any of them can be lost."""
        self._store, self._rank, self._names = store, rank, names
        self._stopped = threading.Event()
        self._looked = time.monotonic()
        self._seen = {other: (0, self._looked) for other in range(len(names)) if other != rank}
        # If the network is cut, a check may take a quarter of an hour; another thread watches.
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._look_on, self._watch)
        ]

    def start(self) -> None:
        """Start sending and checking heartbeats."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending and checking heartbeats."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(LOST)

    def tell(self) -> None:
        """Tell the others that this process ends and has said why."""
        with suppress(RuntimeError):
            self._store.set("told", "yes")

    def lost(self) -> UserError:
        """The error to raise if another process cannot be reached. Takes some seconds."""
        for _ in range(round(LOST / _BEAT)):
            time.sleep(_BEAT)
            try:
                if self._store.check(["told"]):
                    return ToldError(RunInterruptedError.exit_code)
            except RuntimeError:
                return self._error(self._cut_off())
            if gone := self._silent(4 * _BEAT):
                return self._error(self._gone(gone))
        return self._error(f"another process was lost, {_SO}")

    def _look_on(self) -> None:
        with suppress(RuntimeError):  # the store has ended, or is out of reach
            while not self._stopped.is_set():
                self._look()
                self._looked = time.monotonic()
                self._stopped.wait(_BEAT)

    def _look(self) -> None:
        self._store.add(f"sign {self._rank}", 1)
        for other, (signs, _) in list(self._seen.items()):
            now = self._store.add(f"sign {other}", 0)
            if now != signs:
                self._seen[other] = now, time.monotonic()

    def _watch(self) -> None:
        while not self._stopped.wait(_BEAT):
            if time.monotonic() - self._looked > LOST:
                told = self._cut_off()
            elif gone := self._silent(LOST):
                told = self._gone(gone)
            else:
                continue
            if told:
                os.write(2, f"firstlight: {told}\n".encode())
            os._exit(RunInterruptedError.exit_code)

    def _silent(self, seconds: float) -> list[int]:
        now = time.monotonic()
        return [other for other, (_, at) in list(self._seen.items()) if now - at > seconds]

    def _gone(self, gone: list[int]) -> str:
        """What the first remaining process reports; empty for the others."""
        if self._rank != min(set(range(len(self._names))) - set(gone)):
            return ""
        names = " and ".join(self._names[one] for one in gone)
        return f"{names} {'were' if len(gone) > 1 else 'was'} lost, {_SO}"

    def _cut_off(self) -> str:
        """What one process of each machine reports if it cannot reach the store, which process 0 or
        its launcher keeps."""
        if not first_here():
            return ""
        lost = "the launcher" if self._rank == 0 else f"{self._names[0]} or its launcher"
        return f"{lost} was lost or cannot be reached, {_SO}"

    def _error(self, told: str) -> UserError:
        return ProcessLostError(told) if told else ToldError(RunInterruptedError.exit_code)


_SO = (
    "so the training ends. What was saved is kept. Continue with: firstlight train --resume "
    "RUN, on any number of processes that divides train.shards"
)
