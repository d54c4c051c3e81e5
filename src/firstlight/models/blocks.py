"""Parts that networks share. Axes: N images, C channels, H height, W width, F features."""

from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)


def convolution(inputs: int, outputs: int, kernel: int, rng: Generator) -> nn.Conv2d:
    """An unpadded convolution with Glorot-uniform weights (Glorot and Bengio 2010, eq. 16)."""
    return _glorot(nn.Conv2d(inputs, outputs, kernel, device="meta"), rng)


def dense(inputs: int, outputs: int, rng: Generator) -> nn.Linear:
    """A dense layer with Glorot-uniform weights and zero biases."""
    return _glorot(nn.Linear(inputs, outputs, device="meta"), rng)


def unfilled(layer: _Layer) -> _Layer:
    """A layer of the meta device, now with memory; made there, it has taken nothing from torch's
    global generator."""
    for name, weight in list(layer.named_parameters(recurse=False)):
        # As layer.to_empty does, which loads SymPy for it and takes half a second.
        setattr(layer, name, nn.Parameter(torch.empty(weight.shape, device="cpu")))
    return layer


def _glorot(layer: _Layer, rng: Generator) -> _Layer:
    layer = unfilled(layer)
    assert layer.bias is not None
    nn.init.xavier_uniform_(layer.weight, generator=rng)
    nn.init.zeros_(layer.bias)
    return layer


class Dropout(nn.Module):
    """Zero a share of the inputs in training and scale up the rest (Srivastava et al. 2014).

    The coins come from ``rng``, which the training loop provides; evaluation leaves the input as
    it is.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.rng: Generator | None = None

    def forward(self, inputs_NF: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return inputs_NF
        if self.rng is None:
            raise ValueError("dropout needs a generator in training: set its rng")
        kept_NF = torch.empty_like(inputs_NF).bernoulli_(1 - self.share, generator=self.rng)
        return inputs_NF * kept_NF / (1 - self.share)
