"""Parts that networks share. Axes: N images, C channels, H height, W width, F features."""

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init


def convolution(inputs: int, outputs: int, kernel: int, rng: Generator) -> nn.Conv2d:
    """An unpadded convolution with Glorot-uniform weights (Glorot and Bengio 2010, eq. 16)."""
    # skip_init: torch would otherwise fill the weights from the global generator first.
    layer = skip_init(nn.Conv2d, inputs, outputs, kernel)
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    nn.init.xavier_uniform_(layer.weight, generator=rng)
    nn.init.zeros_(layer.bias)
    return layer


def dense(inputs: int, outputs: int, rng: Generator) -> nn.Linear:
    """A dense layer with Glorot-uniform weights and zero biases."""
    layer = skip_init(nn.Linear, inputs, outputs)
    assert isinstance(layer, nn.Linear)
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
