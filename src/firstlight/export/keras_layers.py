"""Keras's description of layers, read: JSON to a tutorial network's choice.

Axes: H height, W width, I inputs, O outputs, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from firstlight.errors import DataError, UserError
from firstlight.recipe import ModelChoice

Config = dict[str, Any]

# They act in training alone, so they change nothing that is answered.
TRAINING_ONLY = {
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast"),
}


@dataclass(kw_only=True)
class Chain:
    """A tutorial network, layer by layer as it is found."""

    image_shape: tuple[int, int, int] = (0, 0, 0)
    mean: float = 0.0
    std: float = 1.0
    rescales: bool = False
    widths: list[int] = field(default_factory=list)
    kernels: list[int] = field(default_factory=list)
    pooled: list[bool] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    active: bool = True
    """Whether the last layer's activation has come."""
    flat: bool = False
    ended: bool = False
    """Whether the softmax has come."""
    dropout: float = 0.0

    @property
    def classes(self) -> int:
        """Outputs."""
        return self.units[-1]

    @property
    def choice(self) -> ModelChoice:
        """As a recipe has it."""
        return ModelChoice(
            name="tutorial",
            widths=tuple(self.widths),
            first_kernel=self.kernels[0],
            pool_last=self.pooled[-1],
            dense=self.units[0],
            dropout=self.dropout,
        )

    @property
    def weights(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Keras's word for each layer with weights, our name for it, and its kernel's shape."""
        height, width, inputs = self.image_shape
        for number, outputs in enumerate(self.widths):
            kernel = self.kernels[number]
            yield "conv2d", f"convolutions.{number}", (kernel, kernel, inputs, outputs)
            step = 2 if self.pooled[number] else 1
            height, width = ((side - kernel + 1) // step for side in (height, width))
            inputs = outputs
        yield "dense", "hidden", (height * width * inputs, self.units[0])
        yield "dense", "logits", (self.units[0], self.units[1])


def chain_of(config: Config, source: str) -> Chain:
    """The network that a ``config.json`` describes. Raises ``UserError`` for any other kind of
    network, and ``DataError`` for a description that is none; ``source`` opens each message."""
    try:
        layers = _in_order(config)
        chain = Chain()
        for number, layer in enumerate(layers):
            name = str(layer["class_name"])
            where = f"layer {number + 1} of {len(layers)}, {name}"
            if str(layer["module"]) != "keras.layers" or layer.get("registered_name"):
                raise _Other(f"{where}, is somebody's own code, which is never run")
            if name in TRAINING_ONLY:
                if name == "Dropout":
                    chain.dropout = float(layer["config"]["rate"])
                continue
            if name not in _READERS:
                why = "runs code of its own" if name == "Lambda" else "is not of the tutorial's"
                raise _Other(f"{where}, {why}; known are {', '.join(sorted(_READERS))}")
            try:
                _READERS[name](chain, layer["config"])
            except _Other as error:
                raise _Other(f"{where}: {error}") from error
        _check_end(chain)
    except _Other as error:
        raise UserError(f"{source}: not a network of the tutorial's kind: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{source}: its description cannot be read: {error!r}") from error
    return chain


class _Other(Exception):  # noqa: N818 - never leaves this file
    """A network that is not of the tutorial's kind."""


def _in_order(config: Config) -> list[Config]:
    """The layers of a Sequential model, or of a functional one that is a plain chain."""
    kind = config["class_name"]
    if kind not in ("Sequential", "Functional") or config.get("registered_name") not in (
        None,
        kind,
    ):
        raise _Other(f"it is a {kind}; Sequential and Functional models are read")
    layers: list[Config] = config["config"]["layers"]
    if kind == "Functional":
        for before, layer in pairwise(layers):
            nodes = layer["inbound_nodes"]
            came_from = nodes[0]["args"][0]["config"]["keras_history"][0]
            if len(nodes) != 1 or came_from != before["config"]["name"]:
                raise _Other("its layers are no plain chain")
    return layers


def _need(fits: bool, wanted: str, got: object) -> None:
    if not fits:
        raise _Other(f"wanted {wanted}, got {got}")


def _input(chain: Chain, config: Config) -> None:
    sides = config["batch_shape"][1:]
    _need(
        len(sides) == 3 and all(isinstance(n, int) and 1 <= n <= 4096 for n in sides),
        "images of a fixed height, width and channels",
        sides,
    )
    _need(sides[2] in (1, 3), "1 or 3 channels", sides[2])
    chain.image_shape = tuple(sides)


def _rescaling(chain: Chain, config: Config) -> None:
    scale, offset = config["scale"], config["offset"]
    numbers = all(isinstance(n, int | float) for n in (scale, offset))
    _need(numbers and scale > 0 and not chain.widths, "one scale and offset, at first", config)
    # x·scale + offset = (x/255 - mean) / std
    chain.std = 1 / (255 * scale)
    chain.mean = -offset * chain.std
    if abs(chain.std - 1) < 1e-6:
        chain.std = 1.0
    chain.rescales = True


def _convolution(chain: Chain, config: Config) -> None:
    kernel = config["kernel_size"]
    first = not chain.widths
    _need(not chain.flat and chain.active, "convolutions with ReLU, then Flatten", "another order")
    _need(
        kernel[0] == kernel[1] and (kernel[0] == 3 or (first and 1 <= kernel[0] <= 11)),
        "3×3 filters (the first layer's of any size up to 11×11)",
        kernel,
    )
    plain = {
        "strides": [1, 1],
        "padding": "valid",
        "dilation_rate": [1, 1],
        "groups": 1,
        "data_format": "channels_last",
        "use_bias": True,
    }
    for key, wanted in plain.items():
        value = config.get(key, wanted)
        value = list(value) if isinstance(value, list | tuple) else value
        _need(value == wanted, f"{key} = {wanted}", value)
    chain.widths.append(int(config["filters"]))
    chain.kernels.append(int(kernel[0]))
    chain.pooled.append(False)
    _activated(chain, config["activation"])


def _pool(chain: Chain, config: Config) -> None:
    size, strides = list(config["pool_size"]), list(config.get("strides") or config["pool_size"])
    _need(size == strides == [2, 2], "2×2 pools", f"{size} with strides {strides}")
    _need(config.get("padding", "valid") == "valid", "no padding", config.get("padding"))
    _need(bool(chain.pooled) and not chain.pooled[-1], "one pool behind a convolution", "another")
    chain.pooled[-1] = True


def _flatten(chain: Chain, config: Config) -> None:
    chain.flat = True


def _dense(chain: Chain, config: Config) -> None:
    _need(chain.flat and chain.active, "dense layers behind Flatten", "another order")
    _need(config.get("use_bias", True) is True, "a bias", "none")
    _need(len(chain.units) < 2, "two dense layers", "more")
    chain.units.append(int(config["units"]))
    _activated(chain, config["activation"])


def _activated(chain: Chain, name: object) -> None:
    """An activation, within a layer or behind it."""
    last = len(chain.units) == 2
    if last:
        _need(name in ("linear", "softmax") and not chain.ended, "softmax or none at the end", name)
        chain.ended, chain.active = name == "softmax", True
        return
    hidden = len(chain.units) == 1 and name == "softmax"
    _need(not hidden, "two dense layers, the first with ReLU", "one")
    _need(name in ("relu", "linear"), "ReLU", name)
    chain.active = name == "relu"


def _check_end(chain: Chain) -> None:
    _need(chain.image_shape != (0, 0, 0), "an Input layer with the images' shape", "none")
    _need(bool(chain.widths), "convolutions", "none")
    _need(len(chain.units) == 2 and chain.active, "two dense layers at the end", len(chain.units))
    _need(all(chain.pooled[:-1]), "a 2×2 pool behind each convolution but perhaps the last", "none")
    _need(all(n >= 1 for n in (*chain.widths, *chain.units)), "layers with outputs", "none")
    shapes = [shape for _, _, shape in chain.weights]
    _need(all(n >= 1 for shape in shapes for n in shape), "images as large as the filters", "less")


_READERS: dict[str, Callable[[Chain, Config], None]] = {
    "InputLayer": _input,
    "Rescaling": _rescaling,
    "Conv2D": _convolution,
    "MaxPooling2D": _pool,
    "Flatten": _flatten,
    "Dense": _dense,
    "Activation": lambda chain, config: _activated(chain, config["activation"]),
    "ReLU": lambda chain, config: _activated(chain, "relu"),
    "Softmax": lambda chain, config: _activated(chain, "softmax"),
}
