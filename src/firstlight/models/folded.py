"""A copy of a network for prediction only, fast for many images on this machine's processor."""

import copy
from collections.abc import Callable
from itertools import takewhile

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from firstlight.models.convolution import Convolution3x3
from firstlight.models.modules import Activation, SameConvolution, same_sides
from firstlight.models.network import Chain

_AT_ONCE: dict[str, tuple[str, list[float]]] = {
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hard-swish": ("hardswish", []),
}
"""oneDNN's names of the activations that it fuses with a convolution, and their parameters."""
LARGE = 2**18
"""If one image's maps, in or out, have more numbers than this, several images do not fit a
cache."""


def folded(model: nn.Module, dtype: torch.dtype, *, at_once: bool = True) -> nn.Module:
    """Return a copy in evaluation mode and in ``dtype``, with each batch norm folded into the
    convolution before it. On a CPU with ``at_once``, the activation after it is fused too; that has
    no gradient. Answers differ only by rounding."""
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
    if _calls_each_in_turn(chain):
        for name, module in list(chain.named_children()):
            if type(module) is nn.Identity:  # fifty calls of nothing take measurable time
                delattr(chain, name)


def _calls_each_in_turn(model: nn.Module) -> bool:
    """Whether modules are known only by their order. The user's own code may use their names."""
    return isinstance(model, Chain) or type(model) is nn.Sequential


def one_by_one(chain: nn.Module, look: Callable[[], object]) -> None:
    """Make the first modules of a chain, up to the last with large maps, take one image at a time.

    ``look`` runs the chain on one image; modules it does not reach stay as they are. Nothing
    changes if the model is not a chain, or contains a module twice.
    """
    sizes, parts = dict[str, int](), dict(chain.named_children())
    if not (isinstance(chain, nn.Sequential) and _calls_each_in_turn(chain)):
        return
    if len(parts) < len(chain):
        return

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def of(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            if isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                sizes[name] = max(inputs[0].numel(), output.numel())

        return of

    hooks = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    try:
        look()
    finally:
        for hook in hooks:
            hook.remove()
    names = list(takewhile(sizes.__contains__, parts))
    large = [number for number, name in enumerate(names) if sizes[name] > LARGE]
    if large:
        first = names[: large[-1] + 1]
        together = OneByOne(*(parts[name] for name in first))
        setattr(chain, first[0], together)
        for name in first[1:]:
            delattr(chain, name)


class OneByOne(nn.Sequential):
    """Modules that process one image after another, so that one module's output is still in the
    processor's caches when the next needs it."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        found = list[Tensor]()
        for maps_1CHW in maps_NCHW.split(1):
            for module in self:
                maps_1CHW = module(maps_1CHW)
            found.append(maps_1CHW)
        return torch.cat(found)


class OneDnnConvolution(nn.Module):
    """A convolution and the activation after it as one oneDNN operation, as in PyTorch's compiler.

    PyTorch's own convolution is slower for few images on one thread. Weights are kept in the memory
    order that oneDNN wants for the maps of the last call.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.stride, self.dilation, self.groups = layer.stride, layer.dilation, layer.groups
        self.padding = layer.padding
        self.same = isinstance(layer, SameConvolution)
        self.activation: tuple[str, list[float]] = ("none", [])
        self.reach = self.dilation[0] * (self.weight.shape[2] - 1) + 1
        depthwise = self.weight.shape[1] == 1 and self.groups == len(self.weight)
        self.wide: Tensor | None = None
        if self.same and depthwise and self.dilation == (1, 1):
            self.wide = _wide(self.weight)
        self._ordered: tuple[tuple[torch.Size, torch.Size], Tensor] | None = None

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        padding, weight = self.padding, self.weight
        if self.same:
            left, right, top, bottom = same_sides(maps_NCHW, self.reach, self.stride[0])
            padding = (top, left)
            if (left, top) == (right, bottom):
                pass
            elif self.wide is not None and (left, right) == (top, bottom):
                weight, padding = self.wide, (bottom, right)
            else:
                maps_NCHW, padding = _padded(maps_NCHW, left, right, top, bottom), (0, 0)
        places = list(padding), list(self.stride), list(self.dilation), self.groups
        shapes, kept = (weight.shape, maps_NCHW.shape), self._ordered
        if kept is None or kept[0] != shapes:
            reorder = torch.ops.mkldnn._reorder_convolution_weight.default
            kept = shapes, reorder(weight, *places, list(maps_NCHW.shape))
            self._ordered = kept  # assign once, because other threads may be computing with it
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            maps_NCHW, kept[1], self.bias, *places, *self.activation, ""
        )
        return result


def _wide(weight_C1HW: Tensor) -> Tensor:
    """Return the filters with a row and a column of zeros before them.

    If the maps need one more zero after than before, pad equally on both sides: these filters then
    see what the originals would, and the maps need not be copied.
    """
    return pad(weight_C1HW, (1, 0, 1, 0))


def _padded(maps_NCHW: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad with zeros. PyTorch's ``pad`` first fills the whole output with zeros."""
    images, channels, height, width = maps_NCHW.shape
    shape = images, channels, height + top + bottom, width + left + right
    wide_NCHW = torch.empty(shape, dtype=maps_NCHW.dtype, memory_format=torch.channels_last)
    wide_NCHW[:, :, :top] = 0
    wide_NCHW[:, :, top + height :] = 0
    wide_NCHW[:, :, :, :left] = 0
    wide_NCHW[:, :, :, left + width :] = 0
    wide_NCHW[:, :, top : top + height, left : left + width] = maps_NCHW
    return wide_NCHW
