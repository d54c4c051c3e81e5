"""3×3 convolutions whose filter gradient is one matrix product of unfolded maps.

Unfolding stores, for each position of a map, the channels of its 3×3 neighbourhood: 9·C numbers,
nine times the memory. Their product with the output gradient's O numbers at the same positions is
the gradient of the filters. After K. Chellapilla, S. Puri and P. Simard: High performance
convolutional neural networks for document processing. 2006, section 3. Axes: N images, C channels
in, O channels out, H height, W width, M positions of all images.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

PART = 2**22
"""Most numbers in unfolded maps at a time (16 MB), unless one image needs more."""
FEWEST_CHANNELS = 64
"""Fewest input channels for which unfolding is faster, as measured: with fewer, copies are too
short."""


def pays(maps_NCHW: torch.Size) -> bool:
    """Whether unfolding is faster for maps of this shape."""
    return maps_NCHW[1] >= FEWEST_CHANNELS


def convolve(maps_NCHW: Tensor, weight_OC33: Tensor) -> Tensor:
    """``conv2d(maps, weight, padding=1)`` N×O×H×W, float32, channels last, with gradients."""
    out_NOHW: Tensor = _Convolve.apply(maps_NCHW, weight_OC33)  # type: ignore[no-untyped-call]
    return out_NOHW


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps_NCHW: Tensor, weight_OC33: Tensor) -> Tensor:
        ctx.save_for_backward(maps_NCHW, weight_OC33)
        return conv2d(maps_NCHW, weight_OC33, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NOHW: Tensor) -> tuple[Tensor | None, Tensor]:
        maps_NCHW, weight_OC33 = ctx.saved_tensors
        wanted, padding = [ctx.needs_input_grad[0], False, False], [1, 1]
        grad_maps_NCHW = torch.ops.aten.convolution_backward(
            *(grad_NOHW, maps_NCHW, weight_OC33, None),
            *([1, 1], padding, [1, 1], False, [0, 0], 1, wanted),
        )[0]
        maps_NHWC, grad_NHWO = maps_NCHW.permute(0, 2, 3, 1), grad_NOHW.permute(0, 2, 3, 1)
        outputs, inputs = weight_OC33.shape[:2]
        grad_9CO = maps_NHWC.new_zeros(9 * inputs, outputs)
        for part in _parts(maps_NHWC):
            grad_9CO.addmm_(_unfold(maps_NHWC[part]).T, grad_NHWO[part].reshape(-1, outputs))
        return grad_maps_NCHW, grad_9CO.view(3, 3, inputs, outputs).permute(3, 2, 0, 1)


def _parts(maps_NHWC: Tensor) -> Iterator[slice]:
    images, height, width, inputs = maps_NHWC.shape
    count = max(1, PART // (9 * height * width * inputs))
    return (slice(first, first + count) for first in range(0, images, count))


def _unfold(maps_NHWC: Tensor) -> Tensor:
    """Return M×9C: each position's 3×3 neighbourhood, row by row, with zeros beyond the edge."""
    n, height, width, inputs = maps_NHWC.shape
    padded = maps_NHWC.new_zeros(n, height + 2, width + 2, inputs)
    padded[:, 1 : 1 + height, 1 : 1 + width] = maps_NHWC
    per_image, down, right, _ = padded.stride()
    windows = padded.as_strided(
        (n, height, width, 3, 3, inputs), (per_image, down, right, down, right, 1)
    )
    return windows.reshape(n * height * width, 9 * inputs)
