"""Convert a module of plain known layers to a list of firstlight's layers, with its weights.

Axes: N images, C channels, H height, W width, F features.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from firstlight import layers as la
from firstlight.errors import UserError
from firstlight.layers.conv import zeros_around
from firstlight.layers.layer import Layer, Shape
from firstlight.layers.network import Network
from firstlight.models.network import NetworkModule


class _Unlike(Exception):  # noqa: N818
    """Why a module cannot be written as a list of known layers."""


@dataclass(frozen=True, kw_only=True)
class AsLayers:
    """A module as a list of layers, or the reason why that is not possible."""

    layers: tuple[Layer, ...] = ()
    model: NetworkModule | None = None
    """The network of these layers, with the module's weights."""
    why: str = ""
    """The part that has no matching layer, in words; empty on success."""


def as_layers(module: nn.Module, image_shape: tuple[int, int, int], classes: int) -> AsLayers:
    """Convert a module that gives scores for images of this shape to a list of layers.

    The result is returned only if it gives the module's answers on random noise.
    """
    try:
        modules = list(_flat(module))
        if not modules or type(modules[-1]) is not nn.Linear:
            raise _Unlike("it does not end with Linear")
        listed, order = _listed(modules, image_shape)
        network = Network(layers=listed)
        model = NetworkModule(network, image_shape, classes, Generator().manual_seed(0))
    except (_Unlike, UserError) as error:
        return AsLayers(why=str(error))
    _take_over(model, modules, order)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not _same_answers(module, model, image_shape):
        return AsLayers(why="as a list of layers it gives other answers")
    return AsLayers(layers=listed, model=model)


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and their names."""
    whole = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        whole.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of nested plain Sequentials in order."""
    if type(module) is not nn.Sequential:
        raise _Unlike(f"{type(module).__name__} is not an nn.Sequential")
    seen = set[int]()
    for inner in module:
        if inner._forward_hooks or inner._forward_pre_hooks or id(inner) in seen:
            raise _Unlike(f"{type(inner).__name__} has a hook, or occurs in it twice")
        seen.add(id(inner))
        if not all(parameter.requires_grad for parameter in inner.parameters()):
            raise _Unlike(f"a {type(inner).__name__} is not trained")
        if isinstance(inner, nn.Sequential):
            yield from _flat(inner)
        elif type(inner) is not nn.Identity:
            yield inner


def _listed(
    modules: list[nn.Module], image_shape: Shape
) -> tuple[tuple[Layer, ...], dict[int, Shape]]:
    """Return the layers; and for each Linear after a flatten, the H×W×C shape that was
    flattened."""
    listed: list[Layer] = []
    orders: dict[int, Shape] = {}
    shape, flattened = image_shape, None
    for number, module in enumerate(modules):
        layer = _layer(module, shape, last=number == len(modules) - 1)
        if isinstance(layer, la.Flatten) and len(shape) == 3 and shape[:2] != (1, 1):
            flattened = shape
        elif flattened is not None and isinstance(layer, la.Dense):
            orders[number], flattened = flattened, None
        elif flattened is not None and any(True for _ in module.parameters()):
            raise _Unlike(f"{type(module).__name__} is between Flatten and Linear")
        listed.append(layer)
        if number < len(modules) - 1:
            shape = layer.output(shape)
    return tuple(listed), orders


def _layer(module: nn.Module, shape: Shape, *, last: bool) -> Layer:
    """Return the layer for a module with inputs of ``shape``. Raises ``_Unlike`` if none
    matches."""
    if last and isinstance(module, nn.Linear):
        return la.Dense("classes", bias=module.bias is not None)
    make = _KINDS.get(type(module))
    layer = None if make is None else make(module, shape)
    if layer is None:
        raise _Unlike(f"there is no layer for {module}")
    return layer


def _side(value: object) -> int:
    """Return the side of a square. Raises ``_Unlike`` if the sides differ."""
    sides = set(value) if isinstance(value, tuple) else {value}
    side = sides.pop()
    if sides or not isinstance(side, int):
        raise _Unlike(f"{value} is not square")
    return side


def _padded(module: nn.Module, reach: int, stride: int, shape: Shape, *, half: bool = False) -> str:
    """Return the name of a module's padding, which may be ``half``. Raises ``_Unlike`` if none
    matches."""
    padding = module.padding
    if padding in ("valid", "same"):
        return str(padding)
    side = _side(padding)
    if side == 0:
        return "valid"
    around = [zeros_around(size, reach, stride) for size in shape[:2]]
    if len(shape) == 3 and around == [(side, side)] * 2:
        return "same"
    if half and side == reach // 2:
        return "half"
    words = "neither valid, same nor half" if half else "neither valid nor same"
    raise _Unlike(f"{module} pads by {side}, {words}")


def _conv(module: nn.Module, shape: Shape) -> Layer | None:
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
        return None
    kernel, stride = _side(module.kernel_size), _side(module.stride)
    dilation = _side(module.dilation)
    return la.Conv(
        module.out_channels,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=module.groups,
        padding=_padded(module, dilation * (kernel - 1) + 1, stride, shape, half=True),
        bias=module.bias is not None,
    )


def _pool(module: nn.Module, shape: Shape) -> Layer | None:
    if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d) or module.ceil_mode:
        return None
    size = _side(module.kernel_size)
    stride = _side(module.stride)
    if isinstance(module, nn.AvgPool2d):
        if module.divisor_override is not None or _side(module.padding):
            return None
        return la.AveragePool(size, stride=stride)
    if module.return_indices or _side(module.dilation) != 1:
        return None
    return la.MaxPool(size, stride=stride, padding=_padded(module, size, stride, shape))


def _norm(module: nn.Module, shape: Shape) -> Layer | None:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        plain = module.affine and module.track_running_stats
        fits = (len(shape) == 3) == isinstance(module, nn.BatchNorm2d)
        if not plain or not fits or module.momentum is None:
            return None
        return la.BatchNorm(momentum=module.momentum, epsilon=module.eps)
    if isinstance(module, nn.GroupNorm) and module.affine:
        return la.GroupNorm(module.num_groups, epsilon=module.eps)
    if isinstance(module, nn.LayerNorm) and module.bias is not None and len(shape) == 1:
        return la.LayerNorm(epsilon=module.eps)
    return None


_KINDS: dict[type[nn.Module], Callable[[Any, Shape], Layer | None]] = {
    nn.Conv2d: _conv,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.GroupNorm: _norm,
    nn.LayerNorm: _norm,
    nn.Linear: lambda m, _: la.Dense(m.out_features, bias=m.bias is not None),
    nn.Flatten: lambda m, _: la.Flatten() if (m.start_dim, m.end_dim) == (1, -1) else None,
    nn.AdaptiveAvgPool2d: lambda m, _: la.GlobalAveragePool() if _one(m) else None,
    nn.AdaptiveMaxPool2d: lambda m, _: la.GlobalMaxPool() if _one(m) else None,
    nn.Dropout: lambda m, _: la.Dropout(m.p),
    nn.Dropout2d: lambda m, _: la.SpatialDropout(m.p),
    nn.ReLU: lambda m, _: la.Activation("relu"),
    nn.LeakyReLU: lambda m, _: la.Activation("leaky-relu", slope=m.negative_slope),
    nn.ELU: lambda m, _: la.Activation("elu") if m.alpha == 1.0 else None,
    nn.GELU: lambda m, _: la.Activation("gelu") if m.approximate == "none" else None,
    nn.ReLU6: lambda m, _: la.Activation("relu6"),
    nn.Hardswish: lambda m, _: la.Activation("hard-swish"),
    nn.SiLU: lambda m, _: la.Activation("silu"),
    nn.Sigmoid: lambda m, _: la.Activation("sigmoid"),
    nn.Tanh: lambda m, _: la.Activation("tanh"),
}
"""How to convert each PyTorch module. The result is None if a setting has no counterpart."""


def _one(module: Any) -> bool:
    plain: bool = module.output_size in (1, (1, 1))
    return plain and not getattr(module, "return_indices", False)


@torch.no_grad()
def _take_over(model: NetworkModule, modules: list[nn.Module], orders: dict[int, Shape]) -> None:
    """Copy the weights. PyTorch flattens in the order C, H, W; firstlight in H, W, C."""
    targets = [one for one in model.modules() if any(True for _ in one.parameters(recurse=False))]
    sources = [(n, one) for n, one in enumerate(modules) if any(True for _ in one.parameters())]
    for target, (number, source) in zip(targets, sources, strict=True):
        state: dict[str, Tensor] = dict(source.state_dict())
        if number in orders:
            height, width, channels = orders[number]
            weight_OCHW = state["weight"].view(-1, channels, height, width)
            state["weight"] = weight_OCHW.permute(0, 2, 3, 1).flatten(1)
        target.load_state_dict(state)


@torch.inference_mode()
def _same_answers(module: nn.Module, model: NetworkModule, shape: tuple[int, int, int]) -> bool:
    height, width, channels = shape
    pixels = torch.rand((4, channels, height, width), generator=Generator().manual_seed(0))
    theirs, ours = module.eval()(pixels), model.eval()(pixels)
    return torch.allclose(theirs, ours, rtol=1e-3, atol=1e-4 * max(1.0, float(theirs.abs().max())))
