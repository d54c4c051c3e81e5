"""The images that a run trains on or watches. Axes: N images of a set, M of them used, B a batch,
H height, W width, C channels, K classes."""

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
        """N: the number of the shard that each lies in."""

    def ahead(self, batches: Sequence[npt.NDArray[np.int64]]) -> AbstractContextManager[None]:
        """Within, these batches are read before they are asked for, in this order."""


@dataclass(frozen=True, kw_only=True)
class Portion:
    """Images of a data set that are used, in the order in which they are numbered here."""

    images_NHWC: Tensor | Rows
    """uint8, of the whole set, on the training device; or what reads them from elsewhere."""
    encoded: EncodedRows | None = None
    """The same, where they are decoded when they are asked for."""
    targets: Tensor
    """The labels of the whole set, on the training device: int64 N, or bool N×K of images that may
    have several."""
    rows_M: Tensor
    """int64: which of them, on the training device."""
    weights_N: Tensor | None = None
    """float32, of the whole set, on the training device: how much each image's loss counts, 1 on
    average over those used; None where all count the same."""

    coming: Coming = field(default_factory=Coming, init=False, repr=False, compare=False)
    """What reads the next batches for a GPU."""

    def __len__(self) -> int:
        return len(self.rows_M)

    def images(self, numbers_B: Tensor) -> Tensor:
        """uint8 B×H×W×C on the training device."""
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
        """Within, the images of these batches are made ready before they are asked for."""
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
        """int64 M: the shard that each image lies in, where the order is to go by them."""
        if self.encoded is None:
            return None
        shard_N = torch.from_numpy(self.encoded.shard_of.astype(np.int64))
        return shard_N[self.rows_M.cpu()]

    def labels(self, numbers_B: Tensor) -> Tensor:
        """int64 B, or bool B×K of images with several labels, on the training device."""
        return self.targets.index_select(0, self.rows_M[numbers_B])

    def weights(self, numbers_B: Tensor) -> Tensor | None:
        """float32 B on the training device; None where all count the same."""
        if self.weights_N is None:
            return None
        return self.weights_N.index_select(0, self.rows_M[numbers_B])

    def counts(self) -> Tensor:
        """int64: images of each class, those of labels above the last that occurs left out."""
        targets_M = self.targets[self.rows_M]
        return targets_M.sum(dim=0) if targets_M.ndim == 2 else torch.bincount(targets_M)

    def class_weights(self) -> Tensor:
        """float32 K: inversely as the images of each class; over the images 1 on average."""
        counts_K = self.counts()
        there_K = (counts_K > 0).float()
        return len(self) / there_K.sum() * there_K / counts_K.clamp(min=1)
