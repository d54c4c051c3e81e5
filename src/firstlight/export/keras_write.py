"""Convert a network's layers to Keras's, with settings, weights and inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firstlight import layers as choice
from firstlight.errors import UserError
from firstlight.export.keras_file import Float32Array
from firstlight.layers.activation import SLOPE
from firstlight.layers.layer import Layer, Shape
from firstlight.layers.sequence import names
from firstlight.runs.checkpoint import SavedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """One of Keras's layers."""

    kind: str
    """Its class."""
    name: str
    inputs: tuple[str, ...]
    """Names of the layers whose outputs it takes."""
    shape: Shape
    """Shape of its output, without the batch axis."""
    values: dict[str, Any] = field(default_factory=dict)
    weights: tuple[Float32Array, ...] = ()


def written(saved: SavedModel) -> list[Written]:
    """Return all layers in Keras's order. Raises ``UserError`` for a layer that Keras does not
    have."""
    network, preprocess = saved.architecture.network, saved.preprocess
    if network.code is not None:
        raise UserError(
            "--format keras is for networks made of known layers; this one is your own module. "
            "Use --format onnx"
        )
    if network.views != "one":
        raise UserError(
            f'--format keras is for views = "one"; this run averages its answers over views '
            f"({network.views}), which Keras has no layer for. Use --format onnx"
        )
    state = saved.model.state_dict()
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
    writer = _Writer(arrays, preprocess.image_shape)
    writer.add("Rescaling", "scale", {"scale": 1 / 255, "offset": 0.0})
    if set(preprocess.mean) != {0.0} or set(preprocess.std) != {1.0}:
        variance = [one**2 for one in preprocess.std]
        values = {"axis": [-1], "invert": False, "mean": list(preprocess.mean)}
        writer.add("Normalization", "standardize", {**values, "variance": variance})
    layers = [layer.with_classes(saved.architecture.classes) for layer in network.layers]
    last, head = _named(layers)[-1]
    if isinstance(head, choice.Dense):  # scale the weights: no layer is needed
        for name in [name for name in arrays if name.startswith(f"{last}.")]:
            arrays[name] = arrays[name] / np.float32(saved.temperature)
    writer.chain(layers, "")
    if saved.temperature != 1 and not isinstance(head, choice.Dense):
        writer.add("Rescaling", "temperature", {"scale": 1 / saved.temperature, "offset": 0.0})
    if saved.task.several:
        writer.add("Activation", "probabilities", {"activation": "sigmoid"})
    else:
        writer.add("Softmax", "probabilities", {"axis": -1})
    return _in_order(writer.layers)


_WORDS = {"hard-swish": "hard_silu"}
"""Keras's names of activations, if they differ from ours."""


def _named(layers: Sequence[Layer]) -> list[tuple[str, Layer]]:
    """The layers, with repeats expanded, each with the name of its module."""
    found = _without_repeats(layers)
    return list(zip(names(found), found, strict=True))


def _without_repeats(layers: Sequence[Layer]) -> list[Layer]:
    found: list[Layer] = []
    for layer in layers:
        is_repeat = isinstance(layer, choice.Repeat)
        found += _without_repeats(layer.parts()) if is_repeat else (layer,)
    return found


class _Writer:
    """The Keras layers so far; ``end`` is the one that the next connects to."""

    def __init__(self, arrays: dict[str, Float32Array], shape: Shape) -> None:
        self.arrays, self.shape, self.end = arrays, shape, "pixels"
        values = {"batch_shape": [None, *shape]}
        first = Written(kind="InputLayer", name="pixels", inputs=(), shape=shape, values=values)
        self.layers = [first]

    def add(
        self, kind: str, name: str, values: dict[str, Any], *weights: Float32Array | None
    ) -> None:
        """Add a layer after the last one; its output has the shape ``self.shape``."""
        self.join(kind, name, (self.end,), values, *weights)

    def join(
        self,
        kind: str,
        name: str,
        inputs: tuple[str, ...],
        values: dict[str, Any],
        *weights: Float32Array | None,
    ) -> None:
        """Add a layer after several others."""
        self.layers.append(
            Written(
                kind=kind,
                name=name,
                inputs=inputs,
                shape=self.shape,
                values=values,
                weights=tuple(np.ascontiguousarray(one) for one in weights if one is not None),
            )
        )
        self.end = name

    def chain(self, layers: Sequence[Layer], prefix: str) -> None:
        """Add consecutive layers; ``prefix`` begins the names of their tensors."""
        for name, layer in _named(layers):
            whole = f"{prefix}{name}"
            before, self.shape = self.shape, layer.output(self.shape)
            if isinstance(layer, choice.Residual | choice.Branches):
                self._block(layer, whole, before)
                continue
            write = _WRITERS.get(type(layer))
            if write is None:
                raise UserError(
                    f"--format keras: Keras has no layer for {layer!r}. Use --format onnx"
                )
            write(self, layer, whole, before)

    def activation(self, name: str, slope: float, at: str) -> None:
        """Add an activation, unless it is ``none``."""
        if name == "leaky-relu":
            self.add("LeakyReLU", at, {"negative_slope": slope})
        elif name != "none":
            self.add("Activation", at, {"activation": _WORDS.get(name, name)})

    def zeros(self, side: int, at: str, before: Shape) -> None:
        """Add ``side`` zeros on every side of maps of the shape ``before``."""
        behind, (height, width, channels) = self.shape, before
        self.shape = height + 2 * side, width + 2 * side, channels
        values = {"padding": [[side, side], [side, side]], "data_format": "channels_last"}
        self.add("ZeroPadding2D", at, values)
        self.shape = behind

    def _block(self, layer: choice.Residual | choice.Branches, at: str, before: Shape) -> None:
        if isinstance(layer, choice.Residual):
            ways = {"layers": layer.layers, "shortcut": layer.shortcut(before)}
            kind = "Add"
        else:
            ways = {f"branch{number}": one for number, one in enumerate(layer.branches, start=1)}
            kind = "Add" if layer.join == "add" else "Concatenate"
        start, behind, ends = self.end, self.shape, []
        for name, layers in ways.items():
            self.end, self.shape = start, before
            self.chain(layers, f"{at}.{name}.")
            ends.append(self.end)
        self.shape, named = behind, at.replace(".", "_")
        self.join(kind, named, tuple(ends), {"axis": -1} if kind == "Concatenate" else {})
        if isinstance(layer, choice.Residual):
            self.activation(layer.activation, SLOPE, f"{named}_activation")


def _conv(writer: _Writer, layer: choice.Conv, at: str, before: Shape) -> None:
    if layer.stride > 1 and layer.dilation > 1:
        raise UserError(
            f"--format keras: {layer!r} has a stride and a dilation above 1, which Keras does "
            "not allow together. Use --format onnx"
        )
    weight, bias = writer.arrays[f"{at}.weight"], writer.arrays.get(f"{at}.bias")
    if layer.padding == "half" and (side := layer.reach // 2):
        writer.zeros(side, f"{_flat(at)}_padding", before)
    values: dict[str, Any] = {
        "kernel_size": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "padding": "same" if layer.padding == "same" else "valid",
        "dilation_rate": [layer.dilation] * 2,
        "use_bias": layer.bias,
    }
    if layer.depthwise:
        times = layer.filters // before[2]
        filters = weight.reshape(before[2], times, layer.kernel, layer.kernel)
        kind, kernel = "DepthwiseConv2D", filters.transpose(2, 3, 0, 1)
        values["depth_multiplier"] = times
    else:
        kind, kernel = "Conv2D", weight.transpose(2, 3, 1, 0)
        values |= {"filters": layer.filters, "groups": layer.groups}
    _with_activation(writer, kind, layer.activation, at, values, (kernel, bias))


def _whiten(writer: _Writer, layer: choice.Whiten, at: str, before: Shape) -> None:
    values: dict[str, Any] = {"filters": layer.filters, "kernel_size": [layer.kernel] * 2}
    weight, bias = (writer.arrays[f"{at}.{name}"] for name in ("weight", "bias"))
    values |= {"strides": [layer.stride] * 2}
    writer.add("Conv2D", _flat(at), values, weight.transpose(2, 3, 1, 0), bias)


def _dense(writer: _Writer, layer: choice.Dense, at: str, before: Shape) -> None:
    weight, bias = writer.arrays[f"{at}.weight"], writer.arrays.get(f"{at}.bias")
    values = {"units": layer.units, "use_bias": layer.bias}
    _with_activation(writer, "Dense", layer.activation, at, values, (weight.T, bias))


def _with_activation(
    writer: _Writer,
    kind: str,
    activation: str,
    at: str,
    values: dict[str, Any],
    weights: tuple[Float32Array | None, ...],
) -> None:
    """Add a layer with its activation built in, if Keras has a name for it."""
    inside = activation not in ("none", "leaky-relu")
    word = _WORDS.get(activation, activation) if inside else "linear"
    writer.add(kind, _flat(at), {**values, "activation": word}, *weights)
    if not inside:
        writer.activation(activation, SLOPE, f"{_flat(at)}_activation")


def _pool(writer: _Writer, layer: Any, at: str, before: Shape) -> None:
    side, step = layer.steps
    kind = "MaxPooling2D" if isinstance(layer, choice.MaxPool) else "AveragePooling2D"
    values = {"pool_size": [side] * 2, "strides": [step] * 2, "padding": layer.padding}
    writer.add(kind, _flat(at), values)


def _norm(writer: _Writer, layer: Any, at: str, before: Shape) -> None:
    values: dict[str, Any] = {"axis": -1, "epsilon": layer.epsilon, "center": True}
    names = ["weight", "bias"]
    if isinstance(layer, choice.BatchNorm):
        kind, values["momentum"] = "BatchNormalization", round(1 - layer.momentum, 12)
        values["scale"] = layer.scale or bool((writer.arrays[f"{at}.weight"] != 1).any())
        names = [*(names if values["scale"] else names[1:]), "running_mean", "running_var"]
    elif isinstance(layer, choice.GroupNorm):
        kind, values["groups"] = "GroupNormalization", layer.groups
    else:
        kind = "LayerNormalization"
    writer.add(kind, _flat(at), values, *(writer.arrays[f"{at}.{name}"] for name in names))


def _activation(writer: _Writer, layer: choice.Activation, at: str, before: Shape) -> None:
    writer.activation(layer.name, layer.slope, _flat(at))


def _drops(writer: _Writer, layer: Any, at: str, before: Shape) -> None:
    kind = "Dropout" if isinstance(layer, choice.Dropout) else "SpatialDropout2D"
    writer.add(kind, _flat(at), {"rate": layer.share})


def _rescale(writer: _Writer, layer: choice.Rescale, at: str, before: Shape) -> None:
    writer.add("Rescaling", _flat(at), {"scale": layer.factor, "offset": layer.offset})


def _same(kind: str) -> Callable[[_Writer, Any, str, Shape], None]:
    return lambda writer, layer, at, before: writer.add(kind, _flat(at), {})


def _flat(at: str) -> str:
    return at.replace(".", "_")


_WRITERS: dict[type[Layer], Callable[[_Writer, Any, str, Shape], None]] = {
    choice.Conv: _conv,
    choice.Whiten: _whiten,
    choice.Dense: _dense,
    choice.Flatten: _same("Flatten"),
    choice.MaxPool: _pool,
    choice.AveragePool: _pool,
    choice.GlobalMaxPool: _same("GlobalMaxPooling2D"),
    choice.GlobalAveragePool: _same("GlobalAveragePooling2D"),
    choice.BatchNorm: _norm,
    choice.GroupNorm: _norm,
    choice.LayerNorm: _norm,
    choice.Activation: _activation,
    choice.Dropout: _drops,
    choice.SpatialDropout: _drops,
    choice.Rescale: _rescale,
}


def _in_order(layers: list[Written]) -> list[Written]:
    """Sort the layers by their distance from the output, farthest first; ties are in the order of a
    walk from the output back.

    Keras sorts a functional model's layers this way when it opens a file, and finds weights by a
    layer's number among those of its class.
    """
    inputs = {one.name: one.inputs for one in layers}
    distance = {one.name: 0 for one in layers}
    for one in reversed(layers):  # each comes after its inputs
        for before in one.inputs:
            distance[before] = max(distance[before], distance[one.name] + 1)
    walked: dict[str, int] = {}
    waiting = [layers[-1].name]
    while waiting:
        name = waiting.pop()
        if name not in walked:
            walked[name] = len(walked)
            waiting += reversed(inputs[name])
    return sorted(layers, key=lambda one: (-distance[one.name], walked[one.name]))
