"""3×3 convolutions, trained in the fastest of three ways.

Axes: N images, C channels in, O channels out, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from firstlight.models import unfolded, winograd

_allowed = True


class Convolution3x3(nn.Conv2d):
    """3×3, padded by a pixel, without bias.

    Answers are always computed by PyTorch's own convolution. Its gradient of the filters, though,
    runs at half the processor's rate in float32 where there is AVX2 and no AVX-512; there a layer
    of many channels is trained in Winograd's way, or takes its filters' gradient from unfolded
    maps. Outputs then differ by some millionths of the largest at most, and gradients have no
    gradients.
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
    """Every convolution PyTorch's way, such as to count its work."""
    global _allowed
    before, _allowed = _allowed, False
    try:
        yield
    finally:
        _allowed = before


def _may_differ(maps_NCHW: Tensor, weight_OC33: Tensor) -> bool:
    return (
        _allowed
        and not torch.compiler.is_compiling()
        and maps_NCHW.dim() == 4
        and weight_OC33.requires_grad
        and maps_NCHW.device.type == "cpu"
        and maps_NCHW.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )
