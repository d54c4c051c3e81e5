"""What a network makes of images before its last dense layer.

Axes: N images, C channels, H height, W width, F features.
"""

import threading
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.models.modules import SquareRoot


def last_dense(model: nn.Module) -> nn.Linear | None:
    """The layer that gives the classes' scores, where one does."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers else None


def head_start(model: nn.Module) -> nn.Module | None:
    """The layer that is given the features: the last dense one, or the square root right before it
    in the same chain."""
    last = last_dense(model)
    for chain in model.modules():
        if isinstance(chain, nn.Sequential):
            for before, module in pairwise(chain):
                if module is last and isinstance(before, SquareRoot):
                    return before
    return last


@torch.inference_mode()
def features(model: nn.Module, pixels_NCHW: Tensor, start: nn.Module | None = None) -> Tensor:
    """float32 N×F, what the last dense layer, or the square root before it, is given, of the plain
    view of each image; of a network without a dense layer, its scores. The model must be in
    evaluation mode. ``start`` is that layer, where it is known: to look for it takes as long as
    some layers.

    Other threads may let the same model answer meanwhile.
    """
    mine = threading.get_ident()

    def stop(layer: nn.Module, inputs: Any) -> None:
        if threading.get_ident() == mine:
            raise _EnoughError(inputs[0])

    start = start or head_start(model)
    hook = None if start is None else start.register_forward_pre_hook(stop)
    try:
        found: Tensor = model(pixels_NCHW)
    except _EnoughError as enough:
        found = enough.given
    finally:
        if hook is not None:
            hook.remove()
    return found.float().flatten(1)


class _EnoughError(Exception):
    """The features are there; the rest of the forward pass, further views of the images, is not
    needed."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given
