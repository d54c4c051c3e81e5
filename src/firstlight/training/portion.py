"""The images that a run trains on or validates with. Axes: N images of a set, M of them used,
B a batch, H height, W width, C channels, K classes."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firstlight.training.coming import Coming, Rows


class EncodedRows(Rows, Protocol):
    """Images that take long to read, such as pictures in shards."""

    @property
    def shard_of(self) -> npt.NDArray[np.int32]:
        """The number of each image's shard, N."""

    def ahead(self, batches: Sequence[npt.NDArray[np.int64]]) -> AbstractContextManager[None]:
        """Read these batches ahead, in this order, inside this context."""


@dataclass(frozen=True, kw_only=True)
class Portion:
    """Some images of a data set, in the order in which they are numbered here."""

    images_NHWC: Tensor | Rows
    """uint8, of the whole set, on the training device; or what reads them on demand."""
    encoded: EncodedRows | None = None
    """The same, if they are decoded on demand."""
    targets: Tensor
    """The labels of the whole set, on the training device: int64 N, or bool N×K if images may have
    several."""
    rows_M: Tensor
    """The numbers of the used images, int64, on the training device."""
    weights_N: Tensor | None = None
    """The weight of each image's loss, float32, for the whole set, on the training device. The mean
    over the used images is 1. None if all have the same weight."""

    coming: Coming = field(default_factory=Coming, init=False, repr=False, compare=False)
    """Reads the next batches for a GPU."""

    def __len__(self) -> int:
        return len(self.rows_M)

    def images(self, numbers_B: Tensor) -> Tensor:
        """Return uint8 B×H×W×C on the training device."""
        if not isinstance(self.images_NHWC, Tensor):
            coming_BHWC = self.coming.take(numbers_B)
            if coming_BHWC is not None:
                return coming_BHWC
        rows_B = self.rows_M[numbers_B]
        if isinstance(self.images_NHWC, Tensor):
            return self.images_NHWC.index_select(0, rows_B)
        return torch.from_numpy(self.images_NHWC[rows_B.cpu().numpy()]).to(rows_B.device)

    @contextmanager
    def ahead(self, batches: Sequence[Tensor]) -> Iterator[None]:
        """Prepare the images of these batches ahead, inside this context."""
        images, on_cpu = self.images_NHWC, self.rows_M.device.type == "cpu"
        if isinstance(images, Tensor) or not batches or (on_cpu and self.encoded is None):
            yield
            return
        rows_N = self.rows_M[torch.cat(list(batches))].cpu()  # at once: each transfer is a wait
        rows = [one.numpy() for one in rows_N.split([len(one) for one in batches])]
        with ExitStack() as stack:
            if self.encoded is not None:
                stack.enter_context(self.encoded.ahead(rows))
            if not on_cpu:
                stack.enter_context(self.coming.read(batches, rows, images))
            yield

    def shard_of(self) -> Tensor | None:
        """Return the shard of each image, int64 M, if the order should go by shards."""
        if self.encoded is None:
            return None
        shard_N = torch.from_numpy(self.encoded.shard_of.astype(np.int64))
        return shard_N[self.rows_M.cpu()]

    def labels(self, numbers_B: Tensor) -> Tensor:
        """Return int64 B, or bool B×K for several labels, on the training device."""
        return self.targets.index_select(0, self.rows_M[numbers_B])

    def weights(self, numbers_B: Tensor) -> Tensor | None:
        """Return float32 B on the training device; None if all have the same weight."""
        if self.weights_N is None:
            return None
        return self.weights_N.index_select(0, self.rows_M[numbers_B])

    def counts(self) -> Tensor:
        """Return how many images each class has, int64, up to the last class that occurs."""
        targets_M = self.targets[self.rows_M]
        return targets_M.sum(dim=0) if targets_M.ndim == 2 else torch.bincount(targets_M)

    def class_weights(self) -> Tensor:
        """Return class weights, float32 K: inversely proportional to the images of each class, with
        a mean of 1 over the images."""
        counts_K = self.counts()
        there_K = (counts_K > 0).float()
        return len(self) / there_K.sum() * there_K / counts_K.clamp(min=1)
