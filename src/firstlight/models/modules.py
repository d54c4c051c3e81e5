"""The layers at work. Axes: N images, C channels, H height, W width, F features."""

from collections.abc import Callable
from functools import partial

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
from firstlight.layers.rescale import Rescale as RescaleChoice
from firstlight.models.blocks import halved, unfilled
from firstlight.models.convolution import Convolution3x3
from firstlight.models.initial import fill

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "leaky-relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


class Activation(nn.Module):
    """One of the activations, number by number."""

    def __init__(self, name: str, slope: float = SLOPE) -> None:
        super().__init__()
        self.name, self.function = name, FUNCTIONS[name]
        if slope != SLOPE:
            self.function = partial(functional.leaky_relu, negative_slope=slope)

    def in_place(self) -> None:
        """Let the result take the place of what comes in, which nothing else then needs."""
        if self.name == "relu":
            self.function = Tensor.relu_

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def convolution(choice: Conv, shape: Shape, rng: Generator) -> nn.Module:
    """A convolution for maps of ``shape``, H×W×C."""
    groups = choice.grouped(shape[2])
    inner, padding = _padding(choice.reach, choice.stride, choice.padding, shape)
    same3x3 = choice.kernel == 3 and choice.stride == choice.dilation == groups == 1
    if same3x3 and choice.padding == "same" and not choice.bias:
        layer: nn.Conv2d = Convolution3x3(shape[2], choice.filters, device="meta")
    else:
        layer = nn.Conv2d(
            shape[2],
            choice.filters,
            choice.kernel,
            stride=choice.stride,
            padding=inner,
            dilation=choice.dilation,
            groups=groups,
            bias=choice.bias,
            device="meta",
        )
    unfilled(layer)
    fill(layer.weight, choice.init, rng)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer if padding is None else nn.Sequential(_Padded(padding), layer)


def _padding(
    side: int, stride: int, padding: str, shape: Shape
) -> tuple[tuple[int, int], tuple[int, int, int, int] | None]:
    """Zeros around the maps, the same before and after; or None and how many on each of the four
    sides, where the two differ: TensorFlow's ``same`` puts the odd one behind."""
    if padding == "valid":
        return (0, 0), None
    (top, bottom), (left, right) = (zeros_around(size, side, stride) for size in shape[:2])
    if top == bottom and left == right:
        return (top, left), None
    return (0, 0), (left, right, top, bottom)


class _Padded(nn.Module):
    """Zeros at the left, the right, the top and the bottom."""

    def __init__(self, sides: tuple[int, int, int, int], value: float = 0.0) -> None:
        super().__init__()
        self.sides, self.value = sides, value

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return functional.pad(maps_NCHW, self.sides, value=self.value)


def dense(choice: Dense, shape: Shape, rng: Generator) -> nn.Linear:
    """A dense layer for ``shape``, F."""
    units = choice.output(shape)[0]
    layer = unfilled(nn.Linear(shape[0], units, bias=choice.bias, device="meta"))
    fill(layer.weight, choice.init, rng)
    if choice.bias:
        nn.init.zeros_(layer.bias)
    return layer


class Flatten(nn.Module):
    """N×C×H×W to N×F in the order H, W, C: that is how channels-last memory lies, so nothing is
    copied. Features stay as they are."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1) if maps.dim() == 4 else maps


LARGE = 2**20
"""Numbers in a batch's maps from which a pool lets them go in training: below, the memory is little
and PyTorch's own pool is quicker to call."""


class MaxPool(nn.Module):
    """The largest number of each window."""

    def __init__(self, choice: MaxPoolChoice, shape: Shape) -> None:
        super().__init__()
        self.size, self.stride = choice.steps
        inner, sides = _padding(self.size, self.stride, choice.padding, shape)
        self.padding, self.sides = inner, sides
        self.halves = self.size == self.stride == 2 and inner == (0, 0) and sides is None

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if self.sides is not None:
            # Not -inf: an exported file's numbers are finite.
            lowest = torch.finfo(maps_NCHW.dtype).min
            maps_NCHW = functional.pad(maps_NCHW, self.sides, value=lowest)
        if self.halves and self.training and maps_NCHW.numel() >= LARGE:
            return halved(maps_NCHW)
        return max_pool2d(maps_NCHW, self.size, self.stride, self.padding)


class AveragePool(nn.Module):
    """The mean of each window's pixels that are there."""

    def __init__(self, choice: AveragePoolChoice, shape: Shape) -> None:
        super().__init__()
        self.size, self.stride = choice.steps
        self.padding, self.sides = _padding(self.size, self.stride, choice.padding, shape)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if self.sides is None:
            return avg_pool2d(
                maps_NCHW, self.size, self.stride, self.padding, count_include_pad=False
            )
        there_1CHW = torch.ones_like(maps_NCHW[:1])
        sums, counts = (
            avg_pool2d(functional.pad(maps, self.sides), self.size, self.stride)
            for maps in (maps_NCHW, there_1CHW)
        )
        return sums / counts


class GlobalMaxPool(nn.Module):
    """N×C×H×W to N×C: the largest number of each map."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return maps_NCHW.amax((2, 3))


class GlobalAveragePool(nn.Module):
    """N×C×H×W to N×C: the mean of each map."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return maps_NCHW.mean((2, 3))


def batch_norm(choice: BatchNorm, shape: Shape) -> nn.Module:
    """Batch norm of maps, or of features; without ``scale`` the factor stays 1."""
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    norm = kind(shape[-1], eps=choice.epsilon, momentum=choice.momentum)
    norm.weight.requires_grad = choice.scale
    return norm


def group_norm(choice: GroupNorm, shape: Shape) -> nn.Module:
    """Group norm of maps."""
    return nn.GroupNorm(choice.groups, shape[2], eps=choice.epsilon)


class LayerNorm(nn.LayerNorm):
    """Over the channels of each place, or over all features."""

    def __init__(self, choice: LayerNormChoice, shape: Shape) -> None:
        super().__init__(shape[-1], eps=choice.epsilon)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dim() == 2:
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
