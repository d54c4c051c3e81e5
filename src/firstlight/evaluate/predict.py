"""Forward passes without gradients. Axes: N images, H height, W width, C channels, K classes."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.evaluate.task import ONE_LABEL, Task
from firstlight.models.folded import folded, one_by_one
from firstlight.models.modules import Resize
from firstlight.pixels import Preprocess

# Large enough to fill two cores, small enough that activations stay in the processor's caches.
BATCH = 125
# A GPU has neither limit.
ACCELERATOR_BATCH = 2000
LARGE = 128 * 128
"""Images of more pixels are large: a forward pass takes fewer of them at a time."""
# For images of 224×224 pixels; fewer if they are larger.
LARGE_BATCH, LARGE_ACCELERATOR_BATCH = 16, 128
_USUAL = 224 * 224
_ROUNDING = 1e-4
"""How far the scores of a quick copy may differ, as a share of the largest score."""


class Images(Protocol):
    """uint8 N×H×W×C: an array, or what reads one from a file."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> npt.NDArray[np.uint8]: ...


def batch_size(device: torch.device, pixels: int = 0) -> int:
    """The best number of images per forward pass, for images of this many pixels."""
    on_cpu = device.type == "cpu"
    if pixels <= LARGE:
        return BATCH if on_cpu else ACCELERATOR_BATCH
    most = LARGE_BATCH if on_cpu else LARGE_ACCELERATOR_BATCH
    return max(1, min(most, most * _USUAL // pixels))


def pixels_seen(model: nn.Module, preprocess: Preprocess) -> int:
    """Pixels of an image as the layers see it: after resizing, if the first layer does that."""
    first = next(model.children(), None)
    if isinstance(first, Resize):
        return first.side**2
    return preprocess.height * preprocess.width


def takes_long(model: nn.Module, preprocess: Preprocess, images: int) -> bool:
    """Whether this many images take long: many and large ones."""
    return images > LARGE_BATCH and pixels_seen(model, preprocess) > LARGE


@torch.inference_mode()
def quick(model: nn.Module, preprocess: Preprocess, first_1HWC: Tensor, images: int) -> nn.Module:
    """The module that answers ``images`` uint8 images fastest, on the model's device.

    For many large images on a CPU it is a copy in which batch norms are folded and large maps stay
    in the caches. It takes half the time, and its answers differ only by rounding, which is tested
    with ``first_1HWC``, one of the images. Otherwise it is the model itself.
    """
    device = first_1HWC.device.type
    if device != "cpu" or not takes_long(model, preprocess, images):
        return model
    pixels_1CHW = preprocess(first_1HWC)
    with suppress(Exception):  # custom code may fail in any way; then it answers itself
        copy = folded(model, torch.float32)
        one_by_one(copy, lambda: copy(pixels_1CHW))
        wanted_1K = logits(model, preprocess, [first_1HWC])
        apart = (copy(pixels_1CHW) - wanted_1K).abs().max()
        if apart <= _ROUNDING * wanted_1K.abs().max():
            return copy
    return model


@torch.inference_mode()
def logits(model: nn.Module, preprocess: Preprocess, batches: Iterable[Tensor]) -> Tensor:
    """Logits, float32 N×K, of uint8 batches on the model's device; restores the model's mode."""
    was_training = model.training
    model.eval()
    try:
        return torch.cat([model(preprocess(images_BHWC)).float() for images_BHWC in batches])
    finally:
        model.train(was_training)


def probabilities(
    model: nn.Module,
    preprocess: Preprocess,
    images_NHWC: Images,
    device: str = "cpu",
    temperature: float = 1.0,
    task: Task = ONE_LABEL,
) -> npt.NDArray[np.float32]:
    """Probabilities of the task, float32 N×K, of N ≥ 1 uint8 images, at a temperature.

    Raises ``DataError`` if the weights are so large that an answer is not a number.
    """

    def some(rows: slice) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images_NHWC[rows])).to(device)

    count, size = len(images_NHWC), batch_size(torch.device(device), pixels_seen(model, preprocess))
    answering = quick(model, preprocess, some(slice(0, 1)), count)
    batches = (some(slice(start, start + size)) for start in range(0, count, size))
    scores_NK = logits(answering, preprocess, batches)
    result: npt.NDArray[np.float32] = task.probabilities(scores_NK / temperature).cpu().numpy()
    return task.check(result, "the network")
