"""A network with one of its maps set to zero. Axes: N images, H height, W width, C channels."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.explain.layers import as_maps, token_grids
from firstlight.explain.network import layer_of, model_input, watched
from firstlight.pixels import Preprocess


@contextmanager
def switched_off(
    model: nn.Module,
    preprocess: Preprocess,
    image_HWC: npt.NDArray[np.uint8],
    layer: int,
    channel: int,
) -> Iterator[None]:
    """Inside the block, map ``channel`` in layer number ``layer`` is zero when this thread runs the
    model, for every image and view. Layers and maps are counted as ``layer_maps`` does for
    ``image_HWC``.

    Other threads may use the same model at the same time: for them nothing changes. If a module of
    the user's own code runs several times for an image, only the run that is this layer is changed;
    the block is then for one run of the model. Raises ``ValueError`` if there is no such layer or
    map.
    """
    module, run, kept = _kept(model, preprocess, image_HWC, (layer, channel))
    mine, runs = threading.get_ident(), 0

    def change(_: nn.Module, given: Any, result: Tensor) -> Tensor | None:
        nonlocal runs
        if threading.get_ident() != mine:
            return None
        runs += 1
        if layer_of(module) is None and runs != run:
            return None
        return torch.where(kept, result, 0)

    hook = module.register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()


def _kept(
    model: nn.Module,
    preprocess: Preprocess,
    image_HWC: npt.NDArray[np.uint8],
    place: tuple[int, int],
) -> tuple[nn.Module, int, Tensor]:
    """Return a layer's module, which of its runs it is, and for each number of its output whether
    it is outside the map."""
    layer, channel = place
    seen: list[tuple[nn.Module, torch.Size]] = []
    with torch.no_grad():
        pixels_1CHW = model_input(model, preprocess, image_HWC[None])
        watched(model, pixels_1CHW, lambda _, module, result: seen.append((module, result.shape)))
    if not 0 <= layer < len(seen):
        raise ValueError(f"wanted a layer from 0 to {len(seen) - 1}, got {layer}")
    module, shape = seen[layer]
    numbers = torch.arange(shape[1:].numel(), device=pixels_1CHW.device).reshape(shape[1:])
    maps_Chw = as_maps(numbers, token_grids(model))
    if not 0 <= channel < len(maps_Chw):
        raise ValueError(f"wanted a map from 0 to {len(maps_Chw) - 1}, got {channel}")
    kept = torch.ones_like(numbers, dtype=torch.bool).flatten()
    kept[maps_Chw[channel].flatten()] = False
    run = sum(one is module for one, _ in seen[: layer + 1])
    return module, run, kept.reshape(shape[1:])
