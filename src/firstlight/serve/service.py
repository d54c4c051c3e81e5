"""State that all routes share: the runs, the queue, the limits, the counters.

Axes: N images, H height, W width, C channels, K classes.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset
from firstlight.data.decode import Bounds
from firstlight.data.pictures import Picture
from firstlight.errors import DataError, UserError
from firstlight.evaluate.prediction import Prediction
from firstlight.serve.aside import Aside, Memory
from firstlight.serve.batching import Batcher
from firstlight.serve.counters import Counters
from firstlight.serve.exported import Served, predictor_of
from firstlight.serve.limits import Limits, RefusedError, busy
from firstlight.serve.predictor import Predictor
from firstlight.serve.studies import Studies

UInt8Array = npt.NDArray[np.uint8]
_Result = TypeVar("_Result")

# A PNG with at most this many pixels per side is decoded in a tenth of a millisecond, faster than
# it can be handed to a thread.
SMALL, SMALL_BYTES = 64, 16 * 1024


class Service:
    """The served runs, and the only way to get an answer from them."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        *,
        limits: Limits,
        threads: int,
        find: Callable[[Predictor], Dataset | None],
        current: Callable[[Mapping[str, Predictor]], Mapping[str, Predictor]] = dict,
    ) -> None:
        """``find`` returns a run's test images, or None if they are not on this machine.
        ``current`` returns the runs to serve, given those served so far, if they may change."""
        self.predictors, self.limits, self._find = dict(predictors), limits, find
        self._current = current
        self._test = WeakKeyDictionary[Predictor, Dataset | None]()
        self._finding = threading.Lock()
        self.counters = Counters()
        self.batcher = Batcher(threads=threads, room=limits.waiting, queued=self.counters.queued)
        self._threads = Aside(threads=threads, waiting=limits.waiting)
        self.studies = Studies(threads=threads)

    def start(self) -> None:
        """Start computing."""
        self.batcher.start()

    def close(self) -> None:
        """Answer accepted requests, then stop."""
        self.studies.close()
        self.batcher.close()
        self._threads.close()

    def predictor(self, name: str | None) -> Predictor:
        """Return the run with this name, or the first. Raises ``RefusedError`` if it cannot
        answer."""
        found = self.run(name)
        if not found.ready:
            raise RefusedError(
                status=409,
                message=(
                    f"{found.name} is still training or was stopped. It answers once it is finished"
                ),
            )
        try:
            found.load()
        except UserError as error:
            raise RefusedError(status=500, message=f"{found.name} cannot be read") from error
        return found

    def look(self) -> None:
        """Find the runs to serve again."""
        self.predictors = dict(self._current(self.predictors))

    def run(self, name: str | None) -> Predictor:
        """Return the run with this name, finished or not, or the first."""
        if name is not None and name not in self.predictors:
            self.look()
        found = next(iter(self.predictors.values())) if name is None else self.predictors.get(name)
        if found is None:
            raise RefusedError(
                status=404, message=f"no such run; choose from {', '.join(self.predictors)}"
            )
        return found

    def test_images(self, predictor: Predictor) -> Dataset | None:
        """Return a run's test images, found only once; None if they are not on this machine."""
        with self._finding:
            if predictor not in self._test:
                self._test[predictor] = self._find(predictor)
            return self._test[predictor]

    async def prepare(self, predictor: Predictor, name: str, content: bytes) -> Picture:
        """Convert a picture file's bytes to the network's input. Raises ``RefusedError``."""
        if self.batcher.full:  # before any wasted work
            raise busy()
        try:
            if _small_png(content):
                return predictor.prepare(name, content)
            return await self.aside(lambda: predictor.prepare(name, content))
        except DataError as error:
            raise RefusedError(status=422, message=str(error)) from error

    async def aside(self, work: Callable[[], _Result]) -> _Result:
        """Do slow work in a thread, so that other requests are still answered.

        Raises ``RefusedError`` 503 if too many requests are waiting.
        """
        return await self._threads.do(work)

    async def probabilities(
        self, predictor: Predictor, images_NHWC: UInt8Array
    ) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities N×K, computed together with other requests' images.

        Raises ``RefusedError`` 503 if the queue is full.
        """
        rows_NK = await self.batcher.ask(predictor.probabilities, images_NHWC)
        self.counters.answered(predictor.name, len(images_NHWC))
        return rows_NK

    async def predictions(
        self, predictor: Predictor, pictures: Sequence[Picture]
    ) -> list[Prediction]:
        """Return one answer for each picture."""
        images_NHWC = np.stack([picture.image_HWC for picture in pictures])
        rows_NK = await self.probabilities(predictor, images_NHWC)
        return [predictor.prediction(p, row) for p, row in zip(pictures, rows_NK, strict=True)]


def _small_png(content: bytes) -> bool:
    """Whether the header of a file shows a small PNG with little other content."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        return False
    sides = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    return all(side <= SMALL for side in sides) and len(content) <= SMALL_BYTES


def named(models: Sequence[Served]) -> dict[str, Served]:
    """Map names to runs: the folders' own names, numbered if two are equal.

    A run that is given twice is served once.
    """
    found: dict[str, Served] = {}
    for served in {served.path.resolve(): served for served in models}.values():
        stem, number = served.name, 1
        while (name := stem if number == 1 else f"{stem}-({number})") in found:
            number += 1
        found[name] = served
    return found


def predictors(models: Sequence[Served], limits: Limits) -> dict[str, Predictor]:
    """Return the predictor for each name. Finished runs are loaded.

    Raises ``UserError`` if one cannot be read.
    """
    bounds = Bounds(pixels=limits.pixels, memory=Memory(limits.decoding_bytes).take)
    found = {name: predictor_of(name, served, bounds) for name, served in named(models).items()}
    for predictor in found.values():
        if predictor.ready:
            predictor.load()
    return found
