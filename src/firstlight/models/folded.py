"""A copy of a network that only answers, for many images on this machine's processors."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in evaluation mode and in ``dtype``, each batch norm made part of the convolution
    before it. What it answers differs by rounding alone."""
    quick = copy.deepcopy(model).eval()
    for module in list(quick.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    quick = quick.to(dtype)
    for parameter in quick.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return quick


def _fold(chain: nn.Sequential) -> None:
    before: tuple[str, nn.Conv2d] | None = None
    for name, module in list(chain.named_children()):
        if before is not None and isinstance(module, nn.BatchNorm2d):
            whole = fuse_conv_bn_eval(before[1], module)
            setattr(chain, before[0], whole)
            setattr(chain, name, nn.Identity())
            module = whole
        before = (name, module) if isinstance(module, nn.Conv2d) else None
    for name, module in list(chain.named_children()):
        if type(module) is nn.Conv2d and module.kernel_size == (1, 1):
            setattr(chain, name, Pointwise.like(module))


class Pointwise(nn.Conv2d):
    """A 1×1 convolution that oneDNN computes also where PyTorch takes a slower way: of few images
    on one thread."""

    @classmethod
    def like(cls, layer: nn.Conv2d) -> "Pointwise":
        """The same layer, with the same weights."""
        same = cls(
            layer.in_channels,
            layer.out_channels,
            1,
            stride=layer.stride,  # type: ignore[arg-type]
            groups=layer.groups,
            bias=layer.bias is not None,
            device="meta",
        )
        same.weight, same.bias = layer.weight, layer.bias
        return same

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if maps_NCHW.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return super().forward(maps_NCHW)
        result: Tensor = torch.mkldnn_convolution(
            maps_NCHW, self.weight, self.bias, (0, 0), self.stride, (1, 1), self.groups
        )
        return result
