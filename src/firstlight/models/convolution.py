"""3×3 convolutions that train with the fastest of three algorithms.

Axes: N images, C channels in, O channels out, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from firstlight.models import unfolded, winograd

_allowed = ContextVar("_allowed", default=True)  # a value for each thread


class Convolution3x3(nn.Conv2d):
    """A 3×3 convolution, padded by one pixel, without bias.

    Prediction always uses PyTorch's own convolution. PyTorch's float32 gradient of the filters runs
    at half the processor's speed with AVX2 but no AVX-512. There, a layer with many channels trains
    with Winograd's algorithm, or computes the filter gradient from unfolded maps. Outputs then
    differ by a few millionths of the largest at most. Second-order gradients are not possible.
    """

    def __init__(self, inputs: int, outputs: int, device: str | None = None) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False, device=device)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if self.training and _may_differ(maps_NCHW, self.weight):
            if winograd.pays(maps_NCHW.shape, len(self.weight)):
                return winograd.convolve(maps_NCHW, self.weight)
            if unfolded.pays(maps_NCHW.shape):
                return unfolded.convolve(maps_NCHW, self.weight)
        return super().forward(maps_NCHW)


@contextmanager
def direct() -> Iterator[None]:
    """Use PyTorch's own algorithm for every convolution, for example to count multiply-adds."""
    before = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(before)


def _may_differ(maps_NCHW: Tensor, weight_OC33: Tensor) -> bool:
    return (
        _allowed.get()
        and not torch.compiler.is_compiling()
        and maps_NCHW.dim() == 4
        and weight_OC33.requires_grad
        and maps_NCHW.device.type == "cpu"
        and maps_NCHW.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )
