"""Read images from disk for a GPU, in a thread while the GPU computes.

Axes: B images of a batch, H height, W width, C channels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

AHEAD = 2
"""Batches that are being read or wait to be used: one is copied while the next is read."""


class Rows(Protocol):
    """Images that are read on demand, for example from a file."""

    def __getitem__(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]: ...


class Coming:
    """The next batches, in order.

    They are read into pinned memory. The GPU copies from there while the program continues. PyTorch
    reuses this memory once the copy is done.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
        self._later: Iterator[tuple[Tensor, Future[Tensor]]] = iter(())

    @contextmanager
    def read(
        self, batches: Sequence[Tensor], rows: Sequence[npt.NDArray[np.int64]], images: Rows
    ) -> Iterator[None]:
        """Read these batches for ``take``, inside this context. ``rows`` are their places in
        ``images``."""
        device = batches[0].device if batches else torch.device("cpu")

        def one(rows_B: npt.NDArray[np.int64]) -> Tensor:
            found_BHWC = torch.from_numpy(images[rows_B])
            return found_BHWC.pin_memory() if device.type == "cuda" else found_BHWC

        before, pool = (self._waiting, self._later), ThreadPoolExecutor(1)
        self._later = (
            (numbers_B, pool.submit(one, rows_B))
            for numbers_B, rows_B in zip(batches, rows, strict=True)
        )
        self._waiting = deque()
        self._fill()
        try:
            yield
        finally:
            for _, future in self._waiting:
                future.cancel()
            pool.shutdown()
            self._waiting, self._later = before

    def take(self, numbers_B: Tensor) -> Tensor | None:
        """Return uint8 B×H×W×C on the device of ``numbers_B``; None if this batch is not next."""
        if not self._waiting or self._waiting[0][0] is not numbers_B:
            return None
        _, future = self._waiting.popleft()
        device = numbers_B.device
        # Only from pinned memory may the copy be made later.
        images_BHWC = future.result().to(device, non_blocking=device.type == "cuda")
        self._fill()
        return images_BHWC

    def _fill(self) -> None:
        while len(self._waiting) < AHEAD and (more := next(self._later, None)) is not None:
            self._waiting.append(more)
