"""What one map of one layer responds to. Axes: H height, W width, C channels of the image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.explain.layers import as_maps, token_grids
from firstlight.explain.network import model_input, watched
from firstlight.pixels import Preprocess

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapSource:
    """The largest value of one map, and the pixels behind it."""

    value: float
    row: int
    """Row of the largest value, from the top."""
    column: int
    """Column of the largest value, from the left."""
    pixels_HW: Float32Array
    """float32, not negative: how much each pixel changes that value, the absolute gradient summed
    over channels (Simonyan et al. 2013, section 3)."""
    filter_Ikk: Float32Array | None
    """The filter's weights, float32, one k×k square per input map; None if the layer is not a
    convolution."""


def map_source(
    model: nn.Module,
    preprocess: Preprocess,
    image_HWC: npt.NDArray[np.uint8],
    layer: int,
    channel: int,
) -> MapSource:
    """Return the source of map ``channel`` in layer number ``layer``, as ``layer_maps`` counts.

    Raises ``ValueError`` if there is no such layer or map.
    """
    seen: list[tuple[nn.Module, Tensor]] = []

    def note(name: str, module: nn.Module, result: Tensor) -> None:
        if len(seen) <= layer:
            seen.append((module, result))

    with torch.enable_grad():
        pixels_1CHW = model_input(model, preprocess, image_HWC[None]).requires_grad_()
        watched(model, pixels_1CHW, note)
        if not 0 <= layer < len(seen):
            raise ValueError(f"wanted a layer from 0 to {len(seen) - 1}, got {layer}")
        module, result = seen[layer]
        maps_Chw = as_maps(result[0], token_grids(model))
        if not 0 <= channel < len(maps_Chw):
            raise ValueError(f"wanted a map from 0 to {len(maps_Chw) - 1}, got {channel}")
        map_hw = maps_Chw[channel]
        row, column = divmod(int(map_hw.argmax()), map_hw.shape[1])
        strongest = map_hw[row, column]
        (gradient_1CHW,) = torch.autograd.grad(strongest, pixels_1CHW)
    filters = [one.weight for one in module.modules() if isinstance(one, nn.Conv2d)]
    return MapSource(
        value=float(strongest.detach()),
        row=row,
        column=column,
        pixels_HW=gradient_1CHW[0].abs().sum(dim=0).float().cpu().numpy(),
        # Only for a single convolution, not for a block that contains several.
        filter_Ikk=filters[0][channel].detach().float().cpu().numpy()
        if len(filters) == 1 and len(filters[0]) == len(maps_Chw)
        else None,
    )
