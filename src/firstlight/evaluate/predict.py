"""Forward passes without gradients. Axes: N images, H height, W width, C channels, K classes."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.pixels import Preprocess

# Large enough to fill two cores, small enough that activations stay in the processor's caches.
BATCH = 125
# A GPU has neither limit.
ACCELERATOR_BATCH = 2000


@torch.inference_mode()
def logits(model: nn.Module, preprocess: Preprocess, images_NHWC: Tensor) -> Tensor:
    """float32 logits N×K of uint8 images on the model's device; the model's mode is restored."""
    was_training = model.training
    model.eval()
    try:
        parts = []
        batch = BATCH if images_NHWC.device.type == "cpu" else ACCELERATOR_BATCH
        for start in range(0, len(images_NHWC), batch):
            parts.append(model(preprocess(images_NHWC[start : start + batch])).float())
        return torch.cat(parts)
    finally:
        model.train(was_training)


def probabilities(
    model: nn.Module,
    preprocess: Preprocess,
    images_NHWC: npt.NDArray[np.uint8],
    device: str = "cpu",
) -> npt.NDArray[np.float32]:
    """Softmax probabilities N×K, float32, of N ≥ 1 uint8 images."""
    images = torch.from_numpy(np.ascontiguousarray(images_NHWC)).to(device)
    scores_NK = logits(model, preprocess, images)
    result: npt.NDArray[np.float32] = scores_NK.softmax(dim=1).cpu().numpy()
    return result
