"""A copy of a network that only answers, for many images on this machine's processors."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from firstlight.models.convolution import Convolution3x3
from firstlight.models.modules import Activation, SameConvolution, same_sides

_AT_ONCE: dict[str, tuple[str, list[float]]] = {
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hard-swish": ("hardswish", []),
}
"""What oneDNN calls the activations that it computes with a convolution, and their numbers."""


def folded(model: nn.Module, dtype: torch.dtype, *, at_once: bool = True) -> nn.Module:
    """A copy in evaluation mode and in ``dtype``, each batch norm made part of the convolution
    before it and, on a CPU and ``at_once``, the activation behind it computed with it, which has no
    gradient. What it answers differs by rounding alone."""
    quick = copy.deepcopy(model).eval().requires_grad_(False)
    chains = [module for module in quick.modules() if isinstance(module, nn.Sequential)]
    for chain in chains:
        _fold(chain)
    quick = quick.to(dtype)
    for parameter in quick.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    on_cpu = next(quick.parameters()).device.type == "cpu"
    if at_once and on_cpu and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        for chain in chains:
            _with_activations(chain)
    return quick


def _fold(chain: nn.Sequential) -> None:
    before: tuple[str, nn.Module] | None = None
    for name, module in list(chain.named_children()):
        if (
            before is not None
            and isinstance(before[1], nn.Conv2d)
            and isinstance(module, nn.BatchNorm2d)
        ):
            whole: nn.Module = fuse_conv_bn_eval(before[1], module)
            setattr(chain, before[0], whole)
            setattr(chain, name, nn.Identity())
            before = None
        else:
            before = name, module


def _with_activations(chain: nn.Sequential) -> None:
    convolution: OneDnnConvolution | None = None
    for name, module in list(chain.named_children()):
        if type(module) in (nn.Conv2d, Convolution3x3, SameConvolution):
            assert isinstance(module, nn.Conv2d), "all three are"
            convolution = OneDnnConvolution(module)
            setattr(chain, name, convolution)
        elif isinstance(module, Activation | nn.ReLU) and convolution is not None:
            word = module.name if isinstance(module, Activation) else "relu"
            if word in _AT_ONCE:
                convolution.activation = _AT_ONCE[word]
                setattr(chain, name, nn.Identity())
            convolution = None
        elif not isinstance(module, nn.Identity):
            convolution = None


class OneDnnConvolution(nn.Module):
    """A convolution and the activation behind it as one operation of oneDNN, which PyTorch's own
    compiler uses. PyTorch's convolution takes a slower way for few images on one thread."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.stride, self.dilation, self.groups = layer.stride, layer.dilation, layer.groups
        self.padding = layer.padding
        self.same = isinstance(layer, SameConvolution)
        self.activation: tuple[str, list[float]] = ("none", [])

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        padding = self.padding
        if self.same:
            reach = self.dilation[0] * (self.weight.shape[2] - 1) + 1
            left, right, top, bottom = same_sides(maps_NCHW, reach, self.stride[0])
            padding = (top, left)
            if (left, top) != (right, bottom):
                maps_NCHW, padding = _padded(maps_NCHW, left, right, top, bottom), (0, 0)
        word, numbers = self.activation
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps_NCHW,
            self.weight,
            self.bias,
            list(padding),
            list(self.stride),
            list(self.dilation),
            self.groups,
            word,
            numbers,
            "",
        )
        return result


def _padded(maps_NCHW: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """With zeros around. PyTorch's ``pad`` writes zeros everywhere first."""
    images, channels, height, width = maps_NCHW.shape
    shape = images, channels, height + top + bottom, width + left + right
    wide_NCHW = torch.empty(shape, dtype=maps_NCHW.dtype, memory_format=torch.channels_last)
    wide_NCHW[:, :, :top] = 0
    wide_NCHW[:, :, top + height :] = 0
    wide_NCHW[:, :, :, :left] = 0
    wide_NCHW[:, :, :, left + width :] = 0
    wide_NCHW[:, :, top : top + height, left : left + width] = maps_NCHW
    return wide_NCHW
