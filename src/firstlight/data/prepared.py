"""Pictures that are decoded on demand, a few of them ahead.

Axes: N images, H height, W width, C channels.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from firstlight.data.pictures import PictureSource, prepare
from firstlight.errors import DataError
from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]
_AHEAD_BYTES = 64 << 20
"""The limit for decoded images that wait to be used."""
_MOST_AHEAD = 2000


class PreparedPictures:
    """uint8 images N×H×W×C in the form that a model accepts. Ask for them slice by slice, from the
    first. An image that cannot be decoded is black, and ``problems`` says why."""

    def __init__(
        self,
        sources: Sequence[PictureSource],
        preprocess: Preprocess,
        pool: ThreadPoolExecutor | None = None,
        told: Callable[[int], None] | None = None,
    ) -> None:
        """``pool``: threads that decode ahead; without it, images are decoded on demand. ``told``
        is called with how many images were requested."""
        self._sources, self._preprocess, self._pool = sources, preprocess, pool
        self._told = told
        of_one = int(np.prod(preprocess.image_shape))
        self._ahead = max(1, min(_MOST_AHEAD, _AHEAD_BYTES // of_one))
        self._begun: dict[int, Future[UInt8Array]] = {}
        self._next = 0
        self.problems: dict[int, str] = {}
        """The problem of each requested image that cannot be decoded, by its number."""

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, rows: slice) -> UInt8Array:
        """Return these images. Raises ``DataError`` if a shard, not only a picture in it, cannot be
        read."""
        start, stop, _ = rows.indices(len(self))
        if self._told is not None:
            self._told(start)
        self._begin(stop + self._ahead)
        found = np.empty((stop - start, *self._preprocess.image_shape), np.uint8)
        for at in range(start, stop):
            begun = self._begun.pop(at, None)
            found[at - start] = self._one(at) if begun is None else begun.result()
        return found

    def close(self) -> None:
        """Stop decoding."""
        for one in self._begun.values():
            one.cancel()
        self._begun.clear()

    def _begin(self, stop: int) -> None:
        if self._pool is None:
            return
        for at in range(self._next, min(stop, len(self))):
            self._begun[at] = self._pool.submit(self._one, at)
        self._next = max(self._next, min(stop, len(self)))

    def _one(self, at: int) -> UInt8Array:
        source = self._sources[at]
        if not isinstance(source.content, Path | bytes | Image.Image):
            # A problem with the shard is not the picture's.
            source = replace(source, content=source.content.read_bytes())
        try:
            return prepare(source, self._preprocess).image_HWC
        except DataError as error:
            self.problems[at] = str(error).removeprefix(f"{source.name}: ")
            return np.zeros(self._preprocess.image_shape, np.uint8)
