"""Parts that several networks share. Axes: N images, C channels, H height, W width, F features."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import max_pool2d, max_pool2d_with_indices

KEEPS_INPUT = "mps"
"""The device whose max-pooling gradient recomputes the positions from the input."""
_with_memory = ContextVar("_with_memory", default=True)  # a value for each thread
_Layer = TypeVar("_Layer", bound=nn.Conv2d | nn.Linear)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build networks that have shapes but no numbers, and take no memory for them."""
    before = _with_memory.set(False)
    try:
        with torch.device("meta"):  # also covers tensors that are only filled inside
            yield
    finally:
        _with_memory.reset(before)


def unfilled(layer: _Layer) -> _Layer:
    """Move a layer from the meta device to memory, unless inside ``shapes_only``. A layer made on
    the meta device draws nothing from torch's global generator."""
    if not _with_memory.get():
        return layer
    for name, weight in list(layer.named_parameters(recurse=False)):
        # Does the same as layer.to_empty, which loads SymPy and takes half a second.
        setattr(layer, name, nn.Parameter(torch.empty(weight.shape, device="cpu")))
    return layer


class Dropout(nn.Module):
    """Zero a share of the inputs in training and scale up the rest (Srivastava et al. 2014).

    With ``whole_maps``, each map is kept or zeroed as a whole. Random numbers come from ``rng``,
    which the training loop sets. Evaluation leaves the input unchanged.
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
    """Return the maximum of each 2×2 window, for training: equals ``max_pool2d(maps, 2)`` to the
    bit.

    PyTorch's function keeps its whole input for the gradient, which needs only the positions. A
    convolution before it does not need that input either, so it is freed here. Second-order
    gradients are not possible. On Apple's MPS the input is kept.
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
        # The second argument stands in for the input: CPU and CUDA read only its shape and memory
        # order.
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            grad_NChw,
            grad_NCHW,
            *([2, 2], [2, 2], [0, 0], [1, 1], False),
            places_NChw,
            grad_input=grad_NCHW,
        )
        return grad_NCHW
