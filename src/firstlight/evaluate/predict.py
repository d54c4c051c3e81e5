"""Forward passes without gradients. Axes: N images, H height, W width, C channels, K classes."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.evaluate.prediction import check_probabilities
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
    size = batch_size(torch.device(device), preprocess.height * preprocess.width)
    batches = (
        torch.from_numpy(np.ascontiguousarray(images_NHWC[start : start + size])).to(device)
        for start in range(0, len(images_NHWC), size)
    )
    scores_NK = logits(model, preprocess, batches)
    result: npt.NDArray[np.float32] = (scores_NK / temperature).softmax(dim=1).cpu().numpy()
    return check_probabilities(result, "the network")
