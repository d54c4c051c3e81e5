"""What one map of one layer responds to. Axes: H height, W width, C channels of the image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.explain.layers import as_maps_of_each, token_grids
from firstlight.explain.network import model_input, watched
from firstlight.pixels import Preprocess

Float32Array = npt.NDArray[np.float32]

NEGLIGIBLE = 0.01
"""A share of the largest gradient of a pixel."""


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

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """The smallest box of pixels that holds all that change the value: top, left, bottom and
        right, the latter two excluded. Pixels with less than a hundredth of the largest gradient do
        not count: a block that weighs maps by their mean lets every pixel change a value a little.
        None if no pixel changes it."""
        rows, columns = np.nonzero(self.pixels_HW > NEGLIGIBLE * self.pixels_HW.max())
        if not len(rows):
            return None
        ends = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        top, left, bottom, right = map(int, ends)
        return top, left, bottom, right


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
    return map_sources(model, preprocess, image_HWC[None], layer, channel)[0]


def map_sources(
    model: nn.Module,
    preprocess: Preprocess,
    images_NHWC: npt.NDArray[np.uint8],
    layer: int,
    channel: int,
) -> list[MapSource]:
    """Return the same for each of N images, computed together."""
    seen: list[tuple[nn.Module, Tensor]] = []

    def note(name: str, module: nn.Module, result: Tensor) -> None:
        if len(seen) <= layer:
            seen.append((module, result))

    with torch.enable_grad():
        pixels_NCHW = model_input(model, preprocess, images_NHWC).requires_grad_()
        watched(model, pixels_NCHW, note)
        if not 0 <= layer < len(seen):
            raise ValueError(f"wanted a layer from 0 to {len(seen) - 1}, got {layer}")
        module, result = seen[layer]
        maps_NChw = as_maps_of_each(result, token_grids(model))
        if not 0 <= channel < maps_NChw.shape[1]:
            raise ValueError(f"wanted a map from 0 to {maps_NChw.shape[1] - 1}, got {channel}")
        maps_NP, width = maps_NChw[:, channel].flatten(1), maps_NChw.shape[3]
        places_N = maps_NP.argmax(dim=1)
        strongest_N = maps_NP[torch.arange(len(maps_NP)), places_N]
        # No image affects another's numbers, so this is each one's own gradient.
        (gradient_NCHW,) = torch.autograd.grad(strongest_N.sum(), pixels_NCHW)
    filters = [one.weight for one in module.modules() if isinstance(one, nn.Conv2d)]
    # Only for a single convolution, not for a block that contains several.
    filter_Ikk = (
        filters[0][channel].detach().float().cpu().numpy()
        if len(filters) == 1 and len(filters[0]) == maps_NChw.shape[1]
        else None
    )
    pixels_NHW = gradient_NCHW.abs().sum(dim=1).float().cpu().numpy()
    return [
        MapSource(
            value=value,
            row=place // width,
            column=place % width,
            pixels_HW=pixels_HW,
            filter_Ikk=filter_Ikk,
        )
        for value, place, pixels_HW in zip(
            strongest_N.detach().tolist(), places_N.tolist(), pixels_NHW, strict=True
        )
    ]
