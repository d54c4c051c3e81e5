"""The features of images: what a network computes before its last dense layer.

Axes: N images, C channels, H height, W width, F features.
"""

import threading
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.models.modules import SquareRoot


def last_dense(model: nn.Module) -> nn.Linear | None:
    """The dense layer that gives the class scores, if there is one."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers else None


def head_start(model: nn.Module) -> nn.Module | None:
    """The layer whose input is the features: the last dense layer, or the square root right before
    it in the same chain."""
    last = last_dense(model)
    for chain in model.modules():
        if isinstance(chain, nn.Sequential):
            for before, module in pairwise(chain):
                if module is last and isinstance(before, SquareRoot):
                    return before
    return last


@torch.inference_mode()
def features(model: nn.Module, pixels_NCHW: Tensor, start: nn.Module | None = None) -> Tensor:
    """The features of each image, float32 N×F, without test-time augmentation.

    They are the input of the last dense layer, or of the square root before it; for a network
    without a dense layer, its scores. The model must be in evaluation mode. Pass that layer as
    ``start`` if you have it: searching for it takes as long as running some layers.

    Other threads may use the same model at the same time.
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
    """Ends the forward pass once the features are computed; other views are not needed."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given
