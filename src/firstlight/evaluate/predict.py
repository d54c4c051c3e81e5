"""Forward passes without gradients. Axes: N images, H height, W width, C channels, K classes."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.evaluate.prediction import check_probabilities
from firstlight.models.folded import folded, one_by_one
from firstlight.models.modules import Resize
from firstlight.pixels import Preprocess

# Large enough to fill two cores, small enough that activations stay in the processor's caches.
BATCH = 125
# A GPU has neither limit.
ACCELERATOR_BATCH = 2000
LARGE = 128 * 128
"""Images of more pixels are large: of these a forward pass takes fewer at a time."""
# Of images of 224×224 pixels; of larger ones fewer.
LARGE_BATCH, LARGE_ACCELERATOR_BATCH = 16, 128
_USUAL = 224 * 224
_ROUNDING = 1e-4
"""Of the largest score: so far apart may those of a quick copy be."""


class Images(Protocol):
    """uint8 N×H×W×C: an array, or what reads one from a file."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> npt.NDArray[np.uint8]: ...


def batch_size(device: torch.device, pixels: int = 0) -> int:
    """Images of so many pixels that a forward pass best takes at a time."""
    on_cpu = device.type == "cpu"
    if pixels <= LARGE:
        return BATCH if on_cpu else ACCELERATOR_BATCH
    most = LARGE_BATCH if on_cpu else LARGE_ACCELERATOR_BATCH
    return max(1, min(most, most * _USUAL // pixels))


def pixels_seen(model: nn.Module, preprocess: Preprocess) -> int:
    """Pixels of an image as the layers see it: of what a first layer resizes it to, or its own."""
    first = next(model.children(), None)
    if isinstance(first, Resize):
        return first.side**2
    return preprocess.height * preprocess.width


def takes_long(model: nn.Module, preprocess: Preprocess, images: int) -> bool:
    """Whether so many images are many, and large ones."""
    return images > LARGE_BATCH and pixels_seen(model, preprocess) > LARGE


@torch.inference_mode()
def quick(model: nn.Module, preprocess: Preprocess, first_1HWC: Tensor, images: int) -> nn.Module:
    """What answers so many uint8 images, of which ``first_1HWC`` is one, on the model's device.

    For many large ones on a CPU that is a copy in which batch norms are folded and large maps stay
    in caches: it takes half the time, and its answers differ by rounding alone. Where they differ
    by more, and for all others, it is the model itself.
    """
    device = first_1HWC.device.type
    if device != "cpu" or not takes_long(model, preprocess, images):
        return model
    pixels_1CHW = preprocess(first_1HWC)
    with suppress(Exception):  # code of one's own may fail in any way; it then answers itself
        copy = folded(model, torch.float32)
        one_by_one(copy, lambda: copy(pixels_1CHW))
        wanted_1K = logits(model, preprocess, [first_1HWC])
        apart = (copy(pixels_1CHW) - wanted_1K).abs().max()
        if apart <= _ROUNDING * wanted_1K.abs().max():
            return copy
    return model


@torch.inference_mode()
def logits(model: nn.Module, preprocess: Preprocess, batches: Iterable[Tensor]) -> Tensor:
    """float32 logits N×K of uint8 batches on the model's device; the model's mode is restored."""
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
) -> npt.NDArray[np.float32]:
    """Softmax probabilities N×K, float32, of N ≥ 1 uint8 images, at a temperature.

    Raises ``DataError`` where weights are so large that an answer is no number.
    """

    def some(rows: slice) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images_NHWC[rows])).to(device)

    count, size = len(images_NHWC), batch_size(torch.device(device), pixels_seen(model, preprocess))
    answering = quick(model, preprocess, some(slice(0, 1)), count)
    batches = (some(slice(start, start + size)) for start in range(0, count, size))
    scores_NK = logits(answering, preprocess, batches)
    result: npt.NDArray[np.float32] = (scores_NK / temperature).softmax(dim=1).cpu().numpy()
    return check_probabilities(result, "the network")
