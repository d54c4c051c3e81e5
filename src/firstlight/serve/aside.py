"""What takes its time, in threads: bounded in number, and in the memory that they take together.

A request that gave up while it waited leaves nothing behind. One whose work has begun cannot stop
it: until that ends, what the work holds counts as held.
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
"""Bytes; so much memory is given back to the system when nobody takes any."""
BEGUN: ContextVar[list[Future[Any]]] = ContextVar("begun")
"""What a request's work is done in; set for each request by who counts its body."""


class Aside:
    """The threads."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        """``threads``: as many at once; ``waiting``: requests that may wait for one."""
        at_once = max(2, threads)
        self._pool = ThreadPoolExecutor(
            max_workers=at_once,
            thread_name_prefix="aside",
            initializer=lambda: compute_with(threads),
        )
        self._free, self._most, self._inside = asyncio.Semaphore(at_once), waiting, 0

    async def do(self, work: Callable[[], _Result]) -> _Result:
        """The result of the work. Raises ``RefusedError`` 503 where too many are waiting."""
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
        """Wait for what has begun."""
        self._pool.shutdown(cancel_futures=True)


def told(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    """Have the loop do something, from another thread; nothing where it has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)


class Memory:
    """Bytes that threads take, together at most so many. Who is first is served first, and one who
    wants more than there is has it alone."""

    def __init__(self, room: int) -> None:
        self._room, self._held = room, 0
        self._next, self._changed = Lock(), Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Wait for so many, and have them inside."""
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
