"""Parts that networks share. Axes: N images, C channels, H height, W width, F features."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import max_pool2d, max_pool2d_with_indices

KEEPS_INPUT = "mps"
"""The device whose gradient of max-pooling finds the places anew from the input."""
_with_memory = True
_Layer = TypeVar("_Layer", bound=nn.Conv2d | nn.Linear)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Networks that are built within have shapes and no numbers, and take no memory for them."""
    global _with_memory
    before, _with_memory = _with_memory, False
    try:
        with torch.device("meta"):  # also what is not made there and filled
            yield
    finally:
        _with_memory = before


def unfilled(layer: _Layer) -> _Layer:
    """A layer of the meta device, now with memory; made there, it has taken nothing from torch's
    global generator. Within ``shapes_only`` it stays there."""
    if not _with_memory:
        return layer
    for name, weight in list(layer.named_parameters(recurse=False)):
        # As layer.to_empty does, which loads SymPy for it and takes half a second.
        setattr(layer, name, nn.Parameter(torch.empty(weight.shape, device="cpu")))
    return layer


class Dropout(nn.Module):
    """Zero a share of the inputs in training and scale up the rest (Srivastava et al. 2014).

    With ``whole_maps`` a map is kept or zeroed as one. The coins come from ``rng``, which the
    training loop provides; evaluation leaves the input as it is.
    """

    def __init__(self, share: float, whole_maps: bool = False) -> None:
        super().__init__()
        self.share, self.whole_maps = share, whole_maps
        self.rng: Generator | None = None

    def forward(self, inputs_NF: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return inputs_NF
        if self.rng is None:
            raise ValueError("dropout needs a generator in training: set its rng")
        coins_NF = inputs_NF[:, :, :1, :1] if self.whole_maps else inputs_NF
        kept_NF = torch.empty_like(coins_NF).bernoulli_(1 - self.share, generator=self.rng)
        return inputs_NF * kept_NF / (1 - self.share)


def max_pool_2x2(maps_NCHW: Tensor) -> Tensor:
    """The largest of every 2×2 pixels for training: ``max_pool2d(maps, 2)``, to the bit.

    PyTorch's own keeps its whole input for the gradient, which needs only the places;
    a convolution in front has no use for it either, so here it is let go, and gradients have no
    gradients. Apple's MPS keeps it.
    """
    if maps_NCHW.device.type == KEEPS_INPUT or torch.compiler.is_compiling():
        return max_pool2d(maps_NCHW, 2)
    pooled_NChw: Tensor = _MaxPool2x2.apply(maps_NCHW)  # type: ignore[no-untyped-call]
    return pooled_NChw


class _MaxPool2x2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps_NCHW: Tensor) -> Tensor:
        pooled_NChw, places_NChw = max_pool2d_with_indices(maps_NCHW, (2, 2))
        ctx.save_for_backward(places_NChw)
        ctx.shape = maps_NCHW.shape
        last = maps_NCHW.is_contiguous(memory_format=torch.channels_last)
        ctx.order = torch.channels_last if last else torch.contiguous_format
        return pooled_NChw

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NChw: Tensor) -> Tensor:
        (places_NChw,) = ctx.saved_tensors
        grad_NCHW = torch.empty(
            ctx.shape, dtype=grad_NChw.dtype, device=grad_NChw.device, memory_format=ctx.order
        )
        # The second stands for the input; on CPU and CUDA only its shape and order are looked at.
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            grad_NChw,
            grad_NCHW,
            *([2, 2], [2, 2], [0, 0], [1, 1], False),
            places_NChw,
            grad_input=grad_NCHW,
        )
        return grad_NCHW
