"""The features of all images, computed once, on all processors and in bounded memory.

Axes: V views, N images, H height, W width, C channels, F features.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from firstlight.devices import computes_in_bfloat16
from firstlight.evaluate.features import features, head_start
from firstlight.evaluate.predict import Images, batch_size
from firstlight.models.folded import folded, one_by_one
from firstlight.pixels import Preprocess
from firstlight.threads import compute_with, usable_threads
from firstlight.training.memory import kept_memory

Float32Array = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of images done so far and in all."""

VIEWS = ("plain", "mirror")
"""An image as it is, and its mirror image."""
ALIKE = 0.995
"""The lowest mean cosine similarity between features computed the quick way and the plain way. In
bfloat16 a network reaches 0.998 on photographs; single photographs are below 0.98."""
# So few that their maps stay in the caches of the processor that computes them.
_BATCH = 8
_TRIED = 8
_AHEAD = 64
# Increased when the same network may give different features.
_EDITION = 3


def engine(device: str) -> str:
    """What computes features on this machine. On another one, features may differ by rounding."""
    return f"{_EDITION} PyTorch {torch.__version__} {device} {_dtype(device)}"


def extract(
    model: nn.Module,
    preprocess: Preprocess,
    images_NHWC: Images,
    *,
    mirror: bool = False,
    progress: Progress | None = None,
) -> Float32Array:
    """The features of N ≥ 1 uint8 images, float32 V×N×F, plain and, with ``mirror``, mirrored.

    Features are the input of the last dense layer, or of the square root before it. The images may
    be ``StoredImages``; then only a few are in memory at a time.

    On a CPU, batch norms are folded into convolutions, and the computation is in bfloat16 if the
    processor supports it. If this changes the features of a few test images too much, the plain
    network is used. Each thread takes whole batches, so the bits do not depend on the number of
    threads. If a GPU runs out of memory, the batch size is halved.
    """
    before, was_training = torch.get_num_threads(), model.training
    compute_with(1)
    model.eval()  # batch norm with its own statistics, also where the plain network is used
    try:
        quick, views = _quick(model, preprocess, images_NHWC), VIEWS if mirror else VIEWS[:1]
        work = _Work(quick, preprocess, images_NHWC, len(views))
        on_cpu = next(model.parameters()).device.type == "cpu"
        return (_on_processors if on_cpu else _on_accelerator)(work, progress)
    finally:
        compute_with(before)
        model.train(was_training)


@dataclass(frozen=True, eq=False)
class _Work:
    """A network in evaluation mode, and the images to process."""

    model: nn.Module
    preprocess: Preprocess
    images_NHWC: Images
    views: int

    @cached_property
    def head(self) -> nn.Module | None:
        """The layer whose input is the features."""
        return head_start(self.model)

    def batch(self, rows: slice) -> Tensor:
        """The features of some of the images, float32 V×B×F, on the model's device."""
        first = next(self.model.parameters())
        part_BHWC = torch.from_numpy(np.ascontiguousarray(self.images_NHWC[rows]))
        pixels_BCHW = self.preprocess(part_BHWC.to(first.device)).to(first.dtype)
        found = [features(self.model, pixels_BCHW, self.head)]
        if self.views > 1:
            found.append(features(self.model, pixels_BCHW.flip(3), self.head))
        return torch.stack(found)


def _dtype(device: str) -> torch.dtype:
    quick = device == "cpu" and computes_in_bfloat16("cpu")
    return torch.bfloat16 if quick else torch.float32


def _quick(model: nn.Module, preprocess: Preprocess, images_NHWC: Images) -> nn.Module:
    """A copy of the model that computes nearly the same features faster, if possible."""
    device, rows = next(model.parameters()).device, slice(0, _TRIED)
    wanted_BF = _Work(model, preprocess, images_NHWC, 1).batch(rows)[0]
    for dtype in dict.fromkeys((_dtype(device.type), torch.float32)):
        # A custom network that cannot be copied or folded is used as it is.
        with suppress(Exception):
            quick = folded(model, dtype)
            work = _Work(quick, preprocess, images_NHWC, 1)
            if device.type == "cpu":
                one_by_one(quick, partial(work.batch, slice(0, 1)))
            found_BF = work.batch(rows)[0]
            if bool(cosine_similarity(found_BF, wanted_BF).mean() > ALIKE):
                return quick
    return model


def _room(work: _Work) -> Float32Array:
    width = work.batch(slice(0, 1)).shape[2]
    return np.empty((work.views, len(work.images_NHWC), width), np.float32)


def _on_processors(work: _Work, progress: Progress | None) -> Float32Array:
    found_VNF = _room(work)
    count = len(work.images_NHWC)
    starts = range(0, count, _BATCH)
    pool = ThreadPoolExecutor(usable_threads(), initializer=compute_with, initargs=(1,))
    with kept_memory(), pool, closing(_in_turn(pool, work, starts)) as batches:
        for start, batch_VBF in zip(starts, batches, strict=True):
            found_VNF[:, start : start + _BATCH] = batch_VBF.numpy()
            if progress is not None:
                progress(min(start + _BATCH, count), count)
    return found_VNF


def _in_turn(pool: ThreadPoolExecutor, work: _Work, starts: range) -> Generator[Tensor, None, None]:
    """The batches in order. A few are computed ahead; none is started after an error."""
    ahead = (pool.submit(work.batch, slice(start, start + _BATCH)) for start in starts)
    waiting = deque(islice(ahead, _AHEAD))
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(islice(ahead, 1))
    finally:
        for one in waiting:
            one.cancel()


def _on_accelerator(work: _Work, progress: Progress | None) -> Float32Array:
    found_VNF, count, start = _room(work), len(work.images_NHWC), 0
    size = batch_size(next(work.model.parameters()).device)
    while start < count:
        rows = slice(start, start + size)
        try:
            found_VNF[:, rows] = work.batch(rows).cpu().numpy()
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        start += size
        if progress is not None:
            progress(min(start, count), count)
    return found_VNF
