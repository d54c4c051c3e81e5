"""Convert each of Keras's layers to firstlight's layers that compute the same, with its weights.

Keras stores a filter as height × width × inputs × outputs and a dense layer as inputs × outputs. It
flattens maps as height × width × channels, like the networks here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from firstlight import layers as choice
from firstlight.errors import DataError, UserError
from firstlight.export.keras_file import WEIGHTS, Arrays, Float32Array
from firstlight.export.keras_nodes import Node, settings
from firstlight.export.keras_steps import Join, Step
from firstlight.layers.activation import SLOPE
from firstlight.layers.conv import zeros_around
from firstlight.layers.layer import Layer, Shape

ACTIVATIONS = {"relu": "relu", "elu": "elu", "gelu": "gelu", "silu": "silu", "swish": "silu"}
ACTIVATIONS |= {"relu6": "relu6", "hard_silu": "hard-swish", "hard_swish": "hard-swish"}
ACTIVATIONS |= {"sigmoid": "sigmoid", "tanh": "tanh"}
"""Maps Keras's names of activations to ours."""
_KERAS_SLOPE = 0.2
"""Slope of the name ``leaky_relu``, which has no setting."""
_NOTHING = ("linear", None)


class Chain:
    """Consecutive layers with their weights, built step by step."""

    def __init__(self, path: Path, arrays: Arrays, shape: Shape) -> None:
        self.path, self.arrays, self.shape = path, arrays, shape
        self.layers: list[Layer] = []
        self.weights: dict[str, Float32Array] = {}
        """Weights by the names of the network's tensors."""
        self._counts = Counter[str]()

    def steps(self, steps: tuple[Step, ...]) -> "Chain":
        """Add the layers of the steps. Raises ``UserError`` with the name of an unsupported
        layer."""
        waiting = list(steps)
        while waiting:
            step = waiting.pop(0)
            if isinstance(step, Join):
                with self.naming(step.node):
                    self._join(step)
            elif step.kind == "ZeroPadding2D":
                with self.naming(step):
                    waiting[:1] = [self._padded(step, waiting[0] if waiting else None)]
            else:
                with self.naming(step):
                    _READERS[step.kind](self, step)
        return self

    @contextmanager
    def naming(self, node: Node) -> Iterator[None]:
        """Add the name of the layer in the file to errors raised inside."""
        try:
            yield
        except DataError:
            raise
        except UserError as error:
            before = f"{self.path}: layer "
            if str(error).startswith(before):
                raise
            raise UserError(f"{before}{node.name[:60]!r}: {error}") from None

    def add(self, layer: Layer, weights: Mapping[str, Float32Array] | None = None) -> None:
        """Add one layer; ``weights`` are named relative to it."""
        last = self.layers[-1] if self.layers else None
        if (
            isinstance(layer, choice.Activation)
            and layer.slope == SLOPE
            and isinstance(last, choice.Residual)
            and last.activation == "none"
        ):
            self.layers[-1] = replace(last, activation=layer.name)
            return
        self.shape = layer.output(self.shape)
        self.layers.append(layer)
        self._counts[layer.kind] += 1
        name = f"{layer.kind.replace('-', '_')}{self._counts[layer.kind]}"
        self.weights |= {f"{name}.{inner}": array for inner, array in (weights or {}).items()}

    def with_activation(
        self, layer: choice.Conv | choice.Dense, node: Node, weights: Mapping[str, Float32Array]
    ) -> None:
        """Add a layer and the activation that Keras includes in it."""
        after = activation(node.values.get("activation"))
        if after is None or after.slope != SLOPE:
            self.add(layer, weights)
            if after is not None:
                self.add(after)
        else:
            self.add(replace(layer, activation=after.name), weights)

    def read(self, node: Node, number: int, shape: tuple[int, ...]) -> Float32Array:
        """Read one of a layer's arrays, numbered in the order in which Keras created them."""
        return self.arrays.read(f"{node.group}/{number}", shape)

    def maps(self) -> tuple[int, int, int]:
        """Return the shape as maps. Raises ``UserError`` for features."""
        if len(self.shape) != 3:
            raise UserError(f"wanted maps, got {self.shape[0]} features")
        return self.shape[0], self.shape[1], self.shape[2]

    def _join(self, step: Join) -> None:
        ways = [Chain(self.path, self.arrays, self.shape).steps(one) for one in step.branches]
        if step.node.kind == "Concatenate":
            last_axis(step.node.values.get("axis", -1), self.shape if not ways else ways[0].shape)
        elif len(ways) == 2:
            for way, short in (ways, ways[::-1]):
                if way.layers and _is_shortcut(short.layers, way, self.shape):
                    inner = {f"layers.{name}": array for name, array in way.weights.items()}
                    inner |= {f"shortcut.{name}": array for name, array in short.weights.items()}
                    self.add(choice.Residual(tuple(way.layers), activation="none"), inner)
                    return
        join = "add" if step.node.kind == "Add" else "concatenate"
        inner = {
            f"branch{number}.{name}": array
            for number, way in enumerate(ways, start=1)
            for name, array in way.weights.items()
        }
        self.add(choice.Branches(tuple(tuple(way.layers) for way in ways), join=join), inner)

    def _padded(self, node: Node, after: Step | None) -> Node:
        """Merge a ZeroPadding2D with the convolution after it, which gets padding ``same`` or
        ``half``."""
        height, width, _ = self.maps()
        padding = node.values["padding"]
        (top, bottom), (left, right) = (
            (one, one) if isinstance(one, int) else one
            for one in ([padding, padding] if isinstance(padding, int) else padding)
        )
        if (
            not isinstance(after, Node)
            or after.kind not in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D")
            or after.values["padding"] != "valid"
        ):
            raise UserError(
                'is only supported before a convolution with padding="valid". If the zeros '
                'equal those of padding="same", use that instead'
            )
        with self.naming(after):
            stride = square(after, "strides", 1)
            reach = square(after, "dilation_rate", 1) * (square(after, "kernel_size") - 1) + 1
        sides = ((height, top, bottom), (width, left, right))
        if all(
            before == zeros_around(size, reach, stride)[0]
            and (size + before + behind - reach) // stride + 1 == -(-size // stride)
            for size, before, behind in sides
        ):
            return replace(after, values={**after.values, "padding": "same"})
        if {top, bottom, left, right} == {reach // 2}:
            return replace(after, values={**after.values, "padding": "half"})
        raise UserError(
            f"puts {padding} zeros around maps of {height}×{width}, and the layer behind it needs "
            'those of padding="same", half a window on every side, or none'
        )


def _is_shortcut(short: list[Layer], way: Chain, shape: Shape) -> bool:
    """Whether these layers are the shortcut of a residual block around the layers of ``way``."""
    try:
        wanted = choice.Residual(tuple(way.layers)).shortcut(shape)
    except UserError:
        return False
    alike = [
        replace(one, padding="same") if isinstance(one, choice.Conv) and one.kernel == 1 else one
        for one in short
    ]
    return tuple(alike) == wanted


def activation(value: Any) -> choice.Activation | None:
    """Parse a setting ``activation``. Raises ``UserError`` if it is unknown."""
    if value in _NOTHING:
        return None
    if value == "softmax":
        raise UserError("softmax is only supported at the end of the model")
    if value == "leaky_relu":
        return choice.Activation("leaky-relu", slope=_KERAS_SLOPE)
    if isinstance(value, str) and value in ACTIVATIONS:
        return choice.Activation(ACTIVATIONS[value])
    if isinstance(value, dict) and value.get("module") == "keras.layers":
        kind, values = value["class_name"], value["config"]
        if kind in ("ReLU", "LeakyReLU", "ELU") and not value.get("registered_name"):
            return _own_activation(kind, settings(f"activation {kind}", kind, values))
    words = value.get("class_name") if isinstance(value, dict) else value
    raise UserError(
        f"activation={str(words)[:60]} is not supported: only {', '.join(ACTIVATIONS)} and "
        "leaky_relu are"
    )


def square(node: Node, key: str, default: int | None = None) -> int:
    """Return a setting for height and width. Raises ``UserError`` if the two differ."""
    value = node.values.get(key, default)
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise UserError(f"wanted the same {key} for height and width, got {str(value)[:60]}")
    return whole(sides[0], key)


def whole(value: Any, key: str) -> int:
    """Return an integer of at least 1; our layer checks the maximum. Raises ``UserError``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"wanted a whole number as {key}, got {str(value)[:60]}")
    return value


def last_axis(value: Any, shape: Shape) -> None:
    """Raise ``UserError`` unless an axis is that of the channels or features."""
    axis = value[0] if isinstance(value, list) and len(value) == 1 else value
    if axis not in (-1, len(shape)):
        raise UserError(f"wanted axis=-1, the channels, got {str(value)[:60]}")


def _biased(
    chain: Chain, node: Node, kernel: Float32Array, outputs: int, number: int = 1
) -> dict[str, Float32Array]:
    found = {"weight": np.ascontiguousarray(kernel)}
    if node.values["use_bias"]:
        found["bias"] = chain.read(node, number, (outputs,))
    return found


def _conv(chain: Chain, node: Node) -> None:
    filters, groups = (whole(node.values.get(key, 1), key) for key in ("filters", "groups"))
    layer = choice.Conv(filters, **_geometry(node), groups=groups, bias=node.values["use_bias"])
    layer.output(chain.shape)
    inputs = chain.shape[2] // layer.grouped(chain.shape[2])
    kernel = chain.read(node, 0, (layer.kernel, layer.kernel, inputs, filters))
    weights = _biased(chain, node, kernel.transpose(3, 2, 0, 1), filters)
    chain.with_activation(layer, node, weights)


def _geometry(node: Node) -> dict[str, Any]:
    return {
        "kernel": square(node, "kernel_size"),
        "stride": square(node, "strides", 1),
        "padding": node.values["padding"],
        "dilation": square(node, "dilation_rate", 1),
    }


def _by_channel(
    chain: Chain, node: Node, bias: bool
) -> tuple[choice.Conv, dict[str, Float32Array]]:
    """Return a depthwise convolution and its filters."""
    channels = chain.maps()[2]
    times = whole(node.values.get("depth_multiplier", 1), "depth_multiplier")
    layer = choice.Conv(channels * times, **_geometry(node), depthwise=True, bias=bias)
    layer.output(chain.shape)
    side = layer.kernel
    kernel = chain.read(node, 0, (side, side, channels, times))
    filters = kernel.transpose(2, 3, 0, 1).reshape(channels * times, 1, side, side)
    return layer, {"weight": np.ascontiguousarray(filters)}


def _depthwise(chain: Chain, node: Node) -> None:
    layer, weights = _by_channel(chain, node, node.values["use_bias"])
    chain.with_activation(layer, node, _biased(chain, node, weights["weight"], layer.filters))


def _separable(chain: Chain, node: Node) -> None:
    layer, weights = _by_channel(chain, node, bias=False)
    filters = whole(node.values["filters"], "filters")
    points = choice.Conv(filters, kernel=1, bias=node.values["use_bias"])
    kernel = chain.read(node, 1, (1, 1, layer.filters, filters)).transpose(3, 2, 0, 1)
    after = _biased(chain, node, kernel, filters, number=2)
    chain.add(layer, weights)
    chain.with_activation(points, node, after)


def _dense(chain: Chain, node: Node) -> None:
    units, inputs = whole(node.values["units"], "units"), chain.shape[-1]
    bias = node.values["use_bias"]
    if len(chain.shape) == 3:  # over the channels at each position: a 1×1 convolution
        layer: choice.Conv | choice.Dense = choice.Conv(units, kernel=1, bias=bias)
    else:
        layer = choice.Dense(units, bias=bias)
    kernel = chain.read(node, 0, (inputs, units)).T
    shaped = kernel.reshape(units, inputs, 1, 1) if isinstance(layer, choice.Conv) else kernel
    chain.with_activation(layer, node, _biased(chain, node, shaped, units))


def _max_pool(chain: Chain, node: Node) -> None:
    chain.add(choice.MaxPool(**_windows(node)))


def _average_pool(chain: Chain, node: Node) -> None:
    chain.add(choice.AveragePool(**_windows(node)))


def _windows(node: Node) -> dict[str, Any]:
    size = square(node, "pool_size")
    stride = size if node.values.get("strides") is None else square(node, "strides")
    return {
        "size": size,
        "stride": 0 if stride == size else stride,
        "padding": node.values["padding"],
    }


def _affine(chain: Chain, node: Node) -> tuple[int, Float32Array, Float32Array]:
    """Return the number of arrays read, and the factor and offset of each channel."""
    last_axis(node.values.get("axis", -1), chain.shape)
    shape, read = (chain.shape[-1],), 0
    factor, offset = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    if node.values["scale"]:
        factor, read = chain.read(node, read, shape), read + 1
    if node.values["center"]:
        offset, read = chain.read(node, read, shape), read + 1
    return read, factor, offset


def _batch_norm(chain: Chain, node: Node) -> None:
    read, factor, offset = _affine(chain, node)
    mean, variance = (chain.read(node, read + i, factor.shape) for i in range(2))
    if (variance < 0).any():
        raise DataError(f"{chain.path}: {WEIGHTS} is damaged: a variance of {node.name!r} below 0")
    layer = choice.BatchNorm(
        momentum=round(1 - node.values.get("momentum", 0.99), 12),
        epsilon=node.values.get("epsilon", 1e-3),
        scale=node.values["scale"],
    )
    weights: dict[str, Any] = {"weight": factor, "bias": offset}
    weights |= {"running_mean": mean, "running_var": variance}
    chain.add(layer, weights | {"num_batches_tracked": np.zeros((), np.int64)})


def _layer_norm(chain: Chain, node: Node) -> None:
    _, factor, offset = _affine(chain, node)
    layer = choice.LayerNorm(epsilon=node.values.get("epsilon", 1e-3))
    chain.add(layer, {"weight": factor, "bias": offset})


def _group_norm(chain: Chain, node: Node) -> None:
    _, factor, offset = _affine(chain, node)
    groups = node.values.get("groups", 32)
    layer = choice.GroupNorm(
        chain.shape[-1] if groups == -1 else groups, epsilon=node.values.get("epsilon", 1e-3)
    )
    chain.add(layer, {"weight": factor, "bias": offset})


def _activation(chain: Chain, node: Node) -> None:
    layer = activation(node.values.get("activation"))
    if layer is not None:
        chain.add(layer)


def _own_activation(kind: str, values: dict[str, Any]) -> choice.Activation:
    """Return an activation that is a layer in Keras."""
    slope = values.get("negative_slope", 0.0 if kind == "ReLU" else 0.3)
    if values.get("max_value") is not None:
        if slope:
            raise UserError("a ReLU with both a max_value and a negative_slope is not supported")
        return choice.Activation("relu6")
    if kind == "ELU" or (kind == "ReLU" and not slope):
        return choice.Activation(kind.lower())
    return choice.Activation("leaky-relu", slope=slope)


def _activation_layer(chain: Chain, node: Node) -> None:
    chain.add(_own_activation(node.kind, node.values))


def _softmax(chain: Chain, node: Node) -> None:
    activation("softmax")


def _rescaling(chain: Chain, node: Node) -> None:
    factors, offsets = affine(chain, node)
    if len(set(factors)) == len(set(offsets)) == 1:
        chain.add(choice.Rescale(float(factors[0]), offset=float(offsets[0])))
        return
    channels = chain.maps()[2]  # per channel: a depthwise 1×1 convolution
    layer = choice.Conv(channels, kernel=1, depthwise=True)
    kernel = factors.astype(np.float32).reshape(channels, 1, 1, 1)
    chain.add(layer, {"weight": kernel, "bias": offsets.astype(np.float32)})


def affine(chain: Chain, node: Node) -> tuple[Any, Any]:
    """Return the factor and offset of each channel in a Rescaling or Normalization; float64."""
    channels = chain.shape[-1]
    if node.kind == "Rescaling":
        factors, offsets = (
            numbers(node.values.get(key, 0.0), key, channels) for key in ("scale", "offset")
        )
        return factors, offsets
    last_axis(node.values.get("axis", [-1]), chain.shape)
    mean, variance = node.values.get("mean"), node.values.get("variance")
    if mean is None or variance is None:
        mean, variance = (chain.read(node, i, (channels,)) for i in range(2))
    means = numbers(mean, "mean", channels)
    # Keras divides by at least 1e-7.
    deviations = np.sqrt(np.maximum(numbers(variance, "variance", channels), 1e-14))
    return 1 / deviations, -means / deviations


def numbers(value: Any, key: str, channels: int) -> Any:
    """Return one number per channel as float64, given one or all. Raises ``UserError``."""
    flat = np.asarray(value, dtype=np.float64).ravel()
    if flat.size not in (1, channels) or not np.isfinite(flat).all():
        raise UserError(f"wanted one {key} for each of {channels} channels, got {flat.size}")
    return np.broadcast_to(flat, (channels,))


def _plain(layer: Layer) -> Callable[[Chain, Node], None]:
    return lambda chain, node: chain.add(layer)


_READERS: dict[str, Callable[[Chain, Node], None]] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "Flatten": _plain(choice.Flatten()),
    "MaxPooling2D": _max_pool,
    "AveragePooling2D": _average_pool,
    "GlobalMaxPooling2D": _plain(choice.GlobalMaxPool()),
    "GlobalAveragePooling2D": _plain(choice.GlobalAveragePool()),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "Dropout": lambda chain, node: chain.add(choice.Dropout(node.values["rate"])),
    "SpatialDropout2D": lambda chain, node: chain.add(choice.SpatialDropout(node.values["rate"])),
    "Activation": _activation,
    "ReLU": _activation_layer,
    "LeakyReLU": _activation_layer,
    "ELU": _activation_layer,
    "Softmax": _softmax,
    "Rescaling": _rescaling,
    "Normalization": _rescaling,
    "Identity": lambda chain, node: None,
}
