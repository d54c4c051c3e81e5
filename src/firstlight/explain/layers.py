"""The output of every layer for one image. Axes: C channels, h height, w width of maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.explain.network import layer_of, model_input, watched
from firstlight.layers import Tokens
from firstlight.layers.stages import stages
from firstlight.pixels import Preprocess


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMaps:
    """One layer's output for one image."""

    name: str
    """The module's name, such as ``conv1``; unique."""
    kind: str
    """Name of the layer, such as ``convolution``; the class name of the user's own module."""
    says: str
    """What it does, as a sentence; empty for the user's own module."""
    maps_Chw: npt.NDArray[np.float32]
    """float32 C×h×w; h = w = 1 if the layer gives single numbers."""

    @property
    def is_single_numbers(self) -> bool:
        """Whether the output has no height and width."""
        return self.maps_Chw.shape[1:] == (1, 1)


def layer_maps(
    model: nn.Module, preprocess: Preprocess, image_HWC: npt.NDArray[np.uint8]
) -> list[LayerMaps]:
    """Return every layer's output in the order of computation, the class scores last.

    If the model averages over views, only the image itself is used.
    """
    layers, grids = list[LayerMaps](), token_grids(model)

    def note(name: str, module: nn.Module, result_1: Tensor) -> None:
        layer = layer_of(module)
        layers.append(
            LayerMaps(
                name=name,
                kind=type(module).__name__ if layer is None else layer.label(),
                says="" if layer is None else layer.says(),
                maps_Chw=as_maps(result_1[0].float(), grids).cpu().contiguous().numpy(),
            )
        )

    with torch.no_grad():
        watched(model, model_input(model, preprocess, image_HWC[None]), note)
    return layers


def shown(layers: Sequence[LayerMaps]) -> list[int]:
    """Return the indices of the layers to show: all, or the stages of a long network."""
    return stages([layer.maps_Chw.shape[1:] for layer in layers])


Grids = Mapping[int, tuple[int, int]]
"""Maps a number of tokens to the rows and columns of their positions, without the class token in
front."""


def token_grids(model: nn.Module) -> Grids:
    """Return the grids of the model's layers that make tokens."""
    made: list[Any] = [one for one in model.modules() if isinstance(layer_of(one), Tokens)]
    return {math.prod(module.grid) + 1: module.grid for module in made}


def as_maps(result: Tensor, grids: Grids) -> Tensor:
    """Return one image's output as maps C×h×w.

    F numbers become F maps of one position. T×F numbers of tokens become F maps of their positions,
    without the class token. Other T×F numbers become one map. More axes become maps of the last
    two.
    """
    return as_maps_of_each(result[None], grids)[0]


def as_maps_of_each(result_N: Tensor, grids: Grids) -> Tensor:
    """Return the output for N images as maps N×C×h×w, each as ``as_maps`` gives it."""
    count = len(result_N)
    if result_N.dim() < 3:
        return result_N.reshape(count, -1, 1, 1)
    if result_N.dim() == 3 and result_N.shape[1] in grids:
        return result_N[:, 1:].transpose(1, 2).reshape(count, -1, *grids[result_N.shape[1]])
    return result_N.reshape(count, -1, *result_N.shape[-2:])
