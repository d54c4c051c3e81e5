"""The modules of the layers. Axes: N images, C channels, H height, W width, F features."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.functional import avg_pool2d, max_pool2d

from firstlight.layers.activation import SLOPE
from firstlight.layers.conv import Conv, zeros_around
from firstlight.layers.dense import Dense
from firstlight.layers.layer import Shape
from firstlight.layers.norm import BatchNorm, GroupNorm
from firstlight.layers.norm import LayerNorm as LayerNormChoice
from firstlight.layers.pool import AveragePool as AveragePoolChoice
from firstlight.layers.pool import MaxPool as MaxPoolChoice
from firstlight.layers.rescale import LayerScale as LayerScaleChoice
from firstlight.layers.rescale import Rescale as RescaleChoice
from firstlight.layers.resize import Resize as ResizeChoice
from firstlight.layers.squeeze import SqueezeExcite as SqueezeChoice
from firstlight.models.blocks import max_pool_2x2, unfilled
from firstlight.models.convolution import Convolution3x3
from firstlight.models.initial import fill

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "leaky-relu": functional.leaky_relu,
    "relu6": functional.relu6,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "hard-swish": functional.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": Tensor.relu_,
    "relu6": partial(functional.relu6, inplace=True),
}


class Activation(nn.Module):
    """One of the activations, applied to each number."""

    def __init__(self, name: str, slope: float = SLOPE) -> None:
        super().__init__()
        self.name, self.function = name, FUNCTIONS[name]
        if slope != SLOPE:
            self.function = partial(functional.leaky_relu, negative_slope=slope)

    def in_place(self) -> None:
        """Overwrite the input with the result. Only valid if nothing else needs the input."""
        self.function = IN_PLACE.get(self.name, self.function)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def convolution(choice: Conv, shape: Shape, rng: Generator) -> nn.Module:
    """Return a convolution for maps of ``shape``, H×W×C."""
    groups = choice.grouped(shape[2])
    padded = choice.padding != "valid"
    kind: type[nn.Conv2d] = nn.Conv2d
    if choice.padding == "same" and (choice.stride > 1 or choice.reach % 2 == 0):
        kind = SameConvolution
    if choice.kernel == 3 and choice.stride == choice.dilation == groups == 1 and padded:
        kind = nn.Conv2d if choice.bias else Convolution3x3
    if kind is Convolution3x3:
        layer: nn.Conv2d = Convolution3x3(shape[2], choice.filters, device="meta")
    else:
        layer = kind(
            shape[2],
            choice.filters,
            choice.kernel,
            stride=choice.stride,
            padding=choice.reach // 2 if padded else 0,
            dilation=choice.dilation,
            groups=groups,
            bias=choice.bias,
            device="meta",
        )
    unfilled(layer)
    fill(layer.weight, choice.init, rng, groups)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


Sides = tuple[int, int, int, int]
"""Pixels to add at the left, right, top and bottom."""


def same_sides(maps_NCHW: Tensor, side: int, stride: int) -> Sides:
    """Return the padding that ``same`` adds: enough for ⌈size / stride⌉ windows of ``side`` in
    height and in width. An odd pixel goes after the maps (TensorFlow's rule)."""
    (top, bottom), (left, right) = (zeros_around(n, side, stride) for n in maps_NCHW.shape[2:])
    return left, right, top, bottom


def _even(sides: Sides) -> bool:
    return sides[0] == sides[1] and sides[2] == sides[3]


class SameConvolution(nn.Conv2d):
    """A convolution whose padding depends on the input size and may be uneven."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        reach, stride = self.dilation[0] * (self.kernel_size[0] - 1) + 1, self.stride[0]
        sides = same_sides(maps_NCHW, reach, stride)
        inner = (sides[2], sides[0]) if _even(sides) else (0, 0)
        if not _even(sides):
            maps_NCHW = functional.pad(maps_NCHW, sides)
        return functional.conv2d(
            maps_NCHW, self.weight, self.bias, self.stride, inner, self.dilation, self.groups
        )


def dense(choice: Dense, shape: Shape, rng: Generator) -> nn.Linear:
    """Return a dense layer for ``shape``, F or T×F."""
    units = choice.output(shape)[-1]
    layer = unfilled(nn.Linear(shape[-1], units, bias=choice.bias, device="meta"))
    fill(layer.weight, choice.init, rng)
    if choice.bias:
        nn.init.zeros_(layer.bias)
    return layer


class Flatten(nn.Module):
    """N×C×H×W to N×F in the order H, W, C, which is the order of channels-last memory, so nothing
    is copied. Features stay as they are; tokens N×T×F become N×(T·F)."""

    def forward(self, maps: Tensor) -> Tensor:
        return (maps.permute(0, 2, 3, 1) if maps.dim() == 4 else maps).flatten(1)


LARGE = 2**20
"""A pool in training frees a batch's maps with more numbers than this. Smaller maps take little
memory, and PyTorch's own pool has less overhead."""


class MaxPool(nn.Module):
    """The maximum of each window."""

    def __init__(self, choice: MaxPoolChoice, shape: Shape) -> None:
        super().__init__()
        self.size, self.stride = choice.steps
        self.same = choice.padding == "same"
        self.halves = self.size == self.stride == 2 and not self.same

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if self.halves and self.training and maps_NCHW.numel() >= LARGE:
            return max_pool_2x2(maps_NCHW)
        if not self.same:
            return max_pool2d(maps_NCHW, self.size, self.stride)
        sides = same_sides(maps_NCHW, self.size, self.stride)
        if _even(sides):
            return max_pool2d(maps_NCHW, self.size, self.stride, (sides[2], sides[0]))
        lowest = torch.finfo(maps_NCHW.dtype).min  # not -inf: ONNX files stay finite
        maps_NCHW = functional.pad(maps_NCHW, sides, value=lowest)
        return max_pool2d(maps_NCHW, self.size, self.stride)


class AveragePool(nn.Module):
    """The mean of each window's pixels inside the maps."""

    def __init__(self, choice: AveragePoolChoice, shape: Shape) -> None:
        super().__init__()
        self.size, self.stride = choice.steps
        self.same = choice.padding == "same"

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        sides = same_sides(maps_NCHW, self.size, self.stride) if self.same else (0, 0, 0, 0)
        if _even(sides):
            inner = sides[2], sides[0]
            return avg_pool2d(maps_NCHW, self.size, self.stride, inner, count_include_pad=False)
        there_1CHW = torch.ones_like(maps_NCHW[:1])
        sums, counts = (
            avg_pool2d(functional.pad(maps, sides), self.size, self.stride)
            for maps in (maps_NCHW, there_1CHW)
        )
        return sums / counts


class GlobalMaxPool(nn.Module):
    """N×C×H×W to N×C: the maximum of each map."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return maps_NCHW.amax((2, 3))


class GlobalAveragePool(nn.Module):
    """N×C×H×W to N×C: the mean of each map."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return maps_NCHW.mean((2, 3))


def batch_norm(choice: BatchNorm, shape: Shape) -> nn.Module:
    """Return batch norm of maps or features; without ``scale`` the factor stays 1."""
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    norm = kind(shape[-1], eps=choice.epsilon, momentum=choice.momentum)
    norm.weight.requires_grad = choice.scale
    return norm


def group_norm(choice: GroupNorm, shape: Shape) -> nn.Module:
    """Return group norm of maps."""
    return nn.GroupNorm(choice.groups, shape[2], eps=choice.epsilon)


class LayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each position, the features of each token, or all
    features."""

    def __init__(self, choice: LayerNormChoice, shape: Shape) -> None:
        super().__init__(shape[-1], eps=choice.epsilon)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dim() < 4:
            return super().forward(inputs)
        return super().forward(inputs.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Rescale(nn.Module):
    """x · factor + offset."""

    def __init__(self, choice: RescaleChoice) -> None:
        super().__init__()
        self.factor, self.offset = choice.factor, choice.offset

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = inputs * self.factor
        return scaled + self.offset if self.offset else scaled


class SquareRoot(nn.Module):
    """√(max(0, x) + epsilon)."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.relu() + self.epsilon).sqrt()


class LayerScale(nn.Module):
    """Multiply each channel or feature by its own trained factor."""

    def __init__(self, choice: LayerScaleChoice, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((shape[-1],), choice.start))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * (self.weight.view(-1, 1, 1) if inputs.dim() == 4 else self.weight)


class SqueezeExcite(nn.Module):
    """Multiply each map by a factor that two dense layers compute from the means of all maps."""

    def __init__(self, choice: SqueezeChoice, shape: Shape, rng: Generator) -> None:
        super().__init__()
        self.function, channels = FUNCTIONS[choice.activation], shape[2]
        units = choice.units(shape)
        self.squeeze = dense(Dense(units), (channels,), rng)
        self.excite = dense(Dense(channels), (units,), rng)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        means_NC = maps_NCHW.mean((2, 3))
        weights_NC = torch.sigmoid(self.excite(self.function(self.squeeze(means_NC))))
        return maps_NCHW * weights_NC[:, :, None, None]


class Resize(nn.Module):
    """N×C×H×W to N×C×side×side by cubic interpolation; a grey image becomes three channels.

    Rows and columns are multiplied by interpolation matrices, which gives the same numbers in every
    runtime.
    """

    def __init__(self, choice: ResizeChoice) -> None:
        super().__init__()
        self.side, self.channels = choice.side, choice.channels
        self.fixed: tuple[Tensor, Tensor] | None = None
        """The weights for maps of one size, once they are computed."""
        self._seen: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        """The weights in training by size, because a GPU would wait for them in each step. All are
        kept: a step that was recorded for one size goes on reading that size's weights."""

    def fix(self, maps_NCHW: Tensor) -> None:
        """Accept only maps of this size from now on; a tracer then sees the weights as numbers, not
        what computes them."""
        self.fixed = self._weights(maps_NCHW)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if tuple(maps_NCHW.shape[2:]) != (self.side, self.side):
            down, right = self.fixed or self._kept(maps_NCHW)
            maps_NCHW = down @ maps_NCHW @ right.T
        if self.channels > maps_NCHW.shape[1]:
            maps_NCHW = torch.cat([maps_NCHW] * self.channels, dim=1)
        return maps_NCHW

    def _kept(self, maps_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self._weights(maps_NCHW)
        key = (*maps_NCHW.shape[2:], maps_NCHW.dtype, maps_NCHW.device)
        if key not in self._seen:
            self._seen[key] = self._weights(maps_NCHW)
        return self._seen[key]

    def _weights(self, maps_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        height, width = maps_NCHW.shape[2:]
        down, right = _cubic(height, self.side), _cubic(width, self.side)
        device, dtype = maps_NCHW.device, maps_NCHW.dtype
        return down.to(device, dtype), right.to(device, dtype)


def _cubic(size: int, side: int) -> Tensor:
    """Return the float32 matrix side×size that interpolates ``size`` numbers to ``side``."""
    each = torch.eye(size)[None, None]
    found: Tensor = functional.interpolate(each, (side, size), mode="bicubic", antialias=True)
    return found[0, 0]
