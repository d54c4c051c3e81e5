"""Long work for a run, such as a look at a thousand test images: done once, and kept.

A request waits for it only briefly. If it takes longer, the answer says how far it is, and the page
asks again.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firstlight.serve.aside import told
from firstlight.serve.limits import busy
from firstlight.threads import compute_with

_Result = TypeVar("_Result")
Progress = Callable[[int, int], None]
"""Called with the number done and the total."""

PATIENCE = 1.0
"""Seconds that a request waits for the result."""
KEPT = 8
"""Results that are kept; of more, the oldest is made again when it is wanted."""
WAITING = 24
"""Most studies that wait for their turn, or are being made."""
NICE = 10
"""How far the thread's priority is below that of answers, where the system can do that."""


@dataclass(frozen=True, kw_only=True)
class Working:
    """A study that is not done yet."""

    done: int
    total: int
    """0 before the work has begun."""


class Studies:
    """Studies, one at a time, in a thread of their own."""

    def __init__(self, *, threads: int) -> None:
        """``threads``: number of threads for a forward pass."""
        self._threads, self._begun = threads, dict[Any, _Study]()
        self._turn, self._ended = threading.Lock(), threading.Event()

    async def result(self, key: Any, work: Callable[[Progress], _Result]) -> _Result | Working:
        """Return the study's result, or how far it is. ``work`` is called at most once for a key
        whose result is kept; it must call its argument from time to time.

        Raises what the work raises, and ``RefusedError`` 503 if too many studies wait.
        """
        study = self._begun.get(key)
        if study is None:
            if sum(not one.future.done() for one in self._begun.values()) >= WAITING:
                raise busy()
            study = self._begun[key] = _Study()
            self._forget()
            threading.Thread(target=self._make, args=(study, work), daemon=True).start()
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        study.future.add_done_callback(lambda _: told(loop, event.set))
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), PATIENCE)
        if not study.future.done():
            return Working(done=study.done, total=study.total)
        if study.future.exception() is not None:
            self._begun.pop(key, None)  # the next request tries again
        result: _Result = study.future.result()
        return result

    def close(self) -> None:
        """End the current study at its next progress, and begin no other."""
        self._ended.set()

    def _forget(self) -> None:
        done = [key for key, study in self._begun.items() if study.future.done()]
        for key in done[: max(0, len(done) - KEPT)]:
            del self._begun[key]

    def _make(self, study: "_Study", work: Callable[[Progress], Any]) -> None:
        def progress(done: int, total: int) -> None:
            study.done, study.total = done, total
            if self._ended.is_set():
                raise _EndedError

        with self._turn:
            compute_with(self._threads)
            _stand_back()
            try:
                progress(0, 0)
                study.future.set_result(work(progress))
            except BaseException as error:
                study.future.set_exception(error)


@dataclass(kw_only=True, eq=False)
class _Study:
    future: Future[Any] = field(default_factory=Future)
    done: int = 0
    total: int = 0


class _EndedError(Exception):
    """The service has ended."""


def _stand_back() -> None:
    """Lower the priority of the calling thread: answers come first."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
