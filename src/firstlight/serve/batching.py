"""Batched prediction: images wait in one bounded queue, and one thread computes.

A forward pass starts when enough images wait to share its cost, or when the server has read all
input that has arrived. So a single request never waits for others, and many requests are not
answered in batches of two. Axes: N images, H height, W width, C channels, K classes.
"""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from firstlight.serve.limits import busy
from firstlight.threads import compute_with

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Compute = Callable[[UInt8Array], Float32Array]

# Sizes of a forward pass. A larger one would only make the others wait. The processor's library
# caches kernels for each size (0.7 MB for a small network); with arbitrary sizes, memory would grow
# with every new one.
PASSES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
ENOUGH = 16
"""With this many images, do not wait for more: each takes hardly longer than in a batch of 64."""
CALM_ROUNDS = 2
"""Rounds of the event loop without a new image: requests already read arrive one round later."""
# The computing thread needs Python's GIL at each of a network's many small steps. By default it
# waits 5 ms each time while the server holds it.
SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    compute: Compute
    images_NHWC: UInt8Array
    answer: "asyncio.Future[Float32Array]"


class Batcher:
    """One queue and one thread for all models of a service."""

    def __init__(
        self, *, threads: int, room: int, queued: Callable[[int], None] = lambda _: None
    ) -> None:
        """``threads``: processors for one forward pass; ``room``: most images that may wait;
        ``queued`` is called with the length of the queue at each change."""
        self.room, self._queued = room, queued
        self._threads = threads
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._due, self._looking = 0, False  # images due without waiting
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    @property
    def waiting(self) -> int:
        """Number of images in the queue."""
        return self._waiting

    def start(self) -> None:
        """Start computing."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def close(self) -> None:
        """Accept no more images, and answer those in the queue before returning."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def full(self) -> bool:
        """Whether the queue has no room for another image."""
        return self._waiting >= self.room

    async def ask(self, compute: Compute, images_NHWC: UInt8Array) -> Float32Array:
        """Return ``compute(images)``, possibly computed together with other requests' images.

        Raises ``RefusedError`` 503 if the queue is full. A caller that gives up cancels.
        """
        loop = asyncio.get_running_loop()
        job = _Job(compute=compute, images_NHWC=images_NHWC, answer=loop.create_future())
        with self._changed:
            if self._closing or self._waiting + len(images_NHWC) > self.room:
                raise busy()
            self._jobs.append(job)
            self._waiting += len(images_NHWC)
            self._queued(self._waiting)
        if self._waiting >= ENOUGH:
            self._hand_over()
        elif not self._looking:
            self._looking = True
            loop.call_soon(self._look, loop, self._waiting, 0)
        return await job.answer

    def _look(self, loop: asyncio.AbstractEventLoop, waiting: int, calm: int) -> None:
        """Start a pass when no more images arrive."""
        if self._waiting > waiting:
            calm = 0
        if calm < CALM_ROUNDS:
            loop.call_soon(self._look, loop, self._waiting, calm + 1)
        else:
            self._looking = False
            self._hand_over()

    def _hand_over(self) -> None:
        with self._changed:
            self._due = self._waiting
            self._changed.notify()

    def _work(self) -> None:
        compute_with(self._threads)
        while True:
            with self._changed:
                while not self._due and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                jobs = self._take()
                self._due = max(0, self._due - sum(len(job.images_NHWC) for job in jobs))
            # Skip callers that gave up.
            jobs = [job for job in jobs if not job.answer.cancelled()]
            if jobs:
                self._answer(jobs)

    def _take(self) -> list[_Job]:
        """Take the oldest job, and later jobs for the same model that fill the pass."""
        alike = [job for job in self._jobs if job.compute == self._jobs[0].compute]
        counts = list(accumulate(len(job.images_NHWC) for job in alike))
        ends = [number for number, count in enumerate(counts, start=1) if count in PASSES]
        taken = alike[: ends[-1] if ends else 1]
        chosen = set(taken)
        self._jobs = deque(job for job in self._jobs if job not in chosen)
        self._waiting -= counts[len(taken) - 1]
        self._queued(self._waiting)
        return taken

    def _answer(self, jobs: list[_Job]) -> None:
        try:
            images_NHWC = np.concatenate([job.images_NHWC for job in jobs])
            rows_NK = np.concatenate([jobs[0].compute(part) for part in passes(images_NHWC)])
            ends = np.cumsum([len(job.images_NHWC) for job in jobs])
            results: list[Float32Array | Exception] = list(np.split(rows_NK, ends[:-1]))
        except Exception as error:  # each caller gets the error; the thread goes on
            results = [error] * len(jobs)
        loop = jobs[0].answer.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, list(zip(jobs, results, strict=True)))


def passes(images_NHWC: UInt8Array) -> Iterator[UInt8Array]:
    """Split the images into the sizes of ``PASSES``, the largest first."""
    start = 0
    while (left := len(images_NHWC) - start) > 0:
        size = max(size for size in PASSES if size <= left)
        yield images_NHWC[start : start + size]
        start += size


def _deliver(pairs: list[tuple[_Job, Float32Array | Exception]]) -> None:
    for job, result in pairs:
        if job.answer.done():
            continue
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
