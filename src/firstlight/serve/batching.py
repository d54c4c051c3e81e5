"""Answers for many at once: images wait in one bounded queue, and one thread computes.

When the thread is free it takes all that is waiting for one model, so that a lone request never
waits for company and a crowd shares the cost of a forward pass.
Axes: N images, H height, W width, C channels, K classes.
"""

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firstlight.threads import compute_with

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Compute = Callable[[UInt8Array], Float32Array]

# Images of one forward pass: more would only make the others wait.
MOST = 64
# The computing thread asks for Python's lock at each of a network's many small steps, and by
# default waits 5 ms each time while the server has it.
SWITCH_SECONDS = 0.0005


class BusyError(Exception):
    """The queue is full; nothing was taken."""


class LateError(Exception):
    """The deadline passed before the answer was there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    compute: Compute
    images_NHWC: UInt8Array
    deadline: float
    answer: "asyncio.Future[Float32Array]"


class Batcher:
    """One queue and one thread for all models of a service."""

    def __init__(self, *, threads: int, room: int) -> None:
        """``threads``: the processors of one forward pass; ``room``: images that may wait."""
        self.room = room
        self._threads = threads
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return self._waiting

    def start(self) -> None:
        """Begin to compute."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def close(self) -> None:
        """Take nothing more; what was taken is answered before this returns."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    async def ask(self, compute: Compute, images_NHWC: UInt8Array, seconds: float) -> Float32Array:
        """``compute(images)``, perhaps together with others' images.

        Raises ``BusyError`` where there is no room, and ``LateError`` where the answer is not there
        within ``seconds``.
        """
        job = _Job(
            compute=compute,
            images_NHWC=images_NHWC,
            deadline=time.monotonic() + seconds,
            answer=asyncio.get_running_loop().create_future(),
        )
        with self._changed:
            if self._closing or self._waiting + len(images_NHWC) > self.room:
                raise BusyError
            self._jobs.append(job)
            self._waiting += len(images_NHWC)
            self._changed.notify()
        try:
            async with asyncio.timeout(seconds):
                return await job.answer
        except TimeoutError as error:
            raise LateError from error

    def _work(self) -> None:
        compute_with(self._threads)
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                jobs = self._take()
            now = time.monotonic()
            # Whoever gave up, or will have before the answer, costs no time.
            jobs = [job for job in jobs if job.deadline > now and not job.answer.cancelled()]
            if jobs:
                self._answer(jobs)

    def _take(self) -> list[_Job]:
        """The oldest job and all behind it for the same model, as far as they fit in a pass."""
        taken = [self._jobs.popleft()]
        count = len(taken[0].images_NHWC)
        rest: deque[_Job] = deque()
        while self._jobs:
            job = self._jobs.popleft()
            if job.compute == taken[0].compute and count + len(job.images_NHWC) <= MOST:
                taken.append(job)
                count += len(job.images_NHWC)
            else:
                rest.append(job)
        self._jobs = rest
        self._waiting -= count
        return taken

    def _answer(self, jobs: list[_Job]) -> None:
        try:
            rows_NK = jobs[0].compute(np.concatenate([job.images_NHWC for job in jobs]))
            ends = np.cumsum([len(job.images_NHWC) for job in jobs])
            results: list[Float32Array | Exception] = list(np.split(rows_NK, ends[:-1]))
        except Exception as error:  # told to each who asked; the thread goes on
            results = [error] * len(jobs)
        loop = jobs[0].answer.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, list(zip(jobs, results, strict=True)))


def _deliver(pairs: list[tuple[_Job, Float32Array | Exception]]) -> None:
    for job, result in pairs:
        if job.answer.done():
            continue
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
