"""What every layer of a network makes of one image. Axes: C channels, h height, w width of maps."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.explain.network import (
    BATCH_NORM,
    CONVOLUTION,
    DENSE,
    GELU,
    GLOBAL_MAX,
    MAX_POOL,
    RELU,
    model_input,
    watched,
)
from firstlight.pixels import Preprocess

WHAT_IT_DOES = {
    CONVOLUTION: "Each map is one filter's answer at every place: above zero where the picture "
    "fits the filter, below zero where it fits the opposite.",
    MAX_POOL: "Of each small window only the largest value goes on: the maps get smaller, and it "
    "matters less where exactly something was.",
    RELU: "What is below zero becomes zero: only what a filter found goes on.",
    GELU: "What lies well below zero becomes nearly zero, what lies above stays nearly as it is.",
    BATCH_NORM: "Each map is shifted and scaled by what is usual for it in training, so that no "
    "map drowns the others.",
    GLOBAL_MAX: "Of each whole map only the largest value goes on: whether something was found, no "
    "longer where.",
    DENSE: "Each value is a weighted sum of all values before it.",
}
"""Kind of layer to a sentence about it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMaps:
    """One layer's results for one image."""

    name: str
    """The module's name, or the kind and a number for a layer without weights; each once."""
    kind: str
    """A key of ``WHAT_IT_DOES``."""
    maps_Chw: npt.NDArray[np.float32]
    """float32 C×h×w; h = w = 1 where the layer gives single numbers."""

    @property
    def is_single_numbers(self) -> bool:
        """Whether there is no height and width left."""
        return self.maps_Chw.shape[1:] == (1, 1)


def layer_maps(
    model: nn.Module, preprocess: Preprocess, image_HWC: npt.NDArray[np.uint8]
) -> list[LayerMaps]:
    """Every layer's results in the order they are computed, the scores of the classes last.

    Of a model that averages over views, those of the image itself.
    """
    layers: list[LayerMaps] = []
    count: Counter[str] = Counter()

    def note(kind: str, module: str, result_1Chw: Tensor) -> None:
        count[kind] += 1
        # A copy: the next layer may write its own result into the same memory.
        maps = np.array(result_1Chw[0].float().cpu().numpy(), order="C")
        layers.append(
            LayerMaps(
                name=module or f"{kind} {count[kind]}",
                kind=kind,
                maps_Chw=maps.reshape(*maps.shape, *(1,) * (3 - maps.ndim)),
            )
        )

    with torch.no_grad():
        watched(model, model_input(model, preprocess, image_HWC[None]), note)
    return layers
