"""Slow work in threads, with a limited number of threads and limited memory.

A request that gives up while it waits leaves nothing behind. Work that has begun cannot be stopped:
until it ends, its memory counts as used.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Condition, Lock
from typing import Any, TypeVar

from firstlight.memory import give_back
from firstlight.serve.limits import busy
from firstlight.threads import compute_with

_Result = TypeVar("_Result")

LARGE = 32 * 1024**2
"""Bytes. Memory blocks of this size are returned to the system when nobody needs them."""
BEGUN: ContextVar[list[Future[Any]]] = ContextVar("begun")
"""The running work of a request; set for each request by the code that counts its body."""


class Aside:
    """A pool of threads."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        """``threads``: number of threads; ``waiting``: most requests that may wait for one."""
        at_once = max(2, threads)
        self._pool = ThreadPoolExecutor(
            max_workers=at_once,
            thread_name_prefix="aside",
            initializer=lambda: compute_with(threads),
        )
        self._free, self._most, self._inside = asyncio.Semaphore(at_once), waiting, 0

    async def do(self, work: Callable[[], _Result]) -> _Result:
        """Return the result of the work. Raises ``RefusedError`` 503 if too many requests are
        waiting."""
        if self._inside >= self._most:
            raise busy()
        self._inside += 1
        try:
            await self._free.acquire()
            begun = self._pool.submit(work)
            loop = asyncio.get_running_loop()
            begun.add_done_callback(lambda _: told(loop, self._free.release))
            if (ours := BEGUN.get(None)) is not None:
                ours[:] = [begun]
            return await asyncio.wrap_future(begun)
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Wait for work that has begun."""
        self._pool.shutdown(cancel_futures=True)


def told(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    """Schedule a call in the loop from another thread; do nothing if the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)


class Memory:
    """A limited number of bytes that threads share. Requests are served in order. A request for
    more than the total gets all of it alone."""

    def __init__(self, room: int) -> None:
        self._room, self._held = room, 0
        self._next, self._changed = Lock(), Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Wait for this many bytes, and hold them inside the block."""
        with self._next, self._changed:
            while self._held and self._held + count > self._room:
                self._changed.wait()
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify()
                over = self._held == 0
            if over and count >= LARGE:
                give_back()
