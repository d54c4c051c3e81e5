"""The tutorial's networks as Keras 3 files (``.keras``): a zip of JSON and of weights in HDF5.

Keras keeps a filter as height × width × inputs × outputs and a dense layer as inputs × outputs; it
flattens maps as height × width × channels, as the networks here do.
"""

import io
import zipfile
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from firstlight import layers as choice
from firstlight.errors import UserError
from firstlight.plain import write_json
from firstlight.runs.checkpoint import SavedModel

Float32Array = npt.NDArray[np.float32]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
"""The members of a file."""
KERAS_VERSION = "3.0.0"
"""Named as the writer: the first that read this format."""
# A zip holds a date for each member; the same run gives the same file.
_DATE = (1980, 1, 1, 0, 0, 0)

Layer = tuple[str, dict[str, Any], list[Float32Array]]
"""Class, configuration, weights."""


def keras_bytes(saved: SavedModel, card: Mapping[str, Any]) -> bytes:
    """A Sequential model: pixels 0 to 255, N×H×W×C, to calibrated probabilities.

    Raises ``UserError`` for a network that is not the tutorial's, or pixels that are not scaled
    as the tutorial does it.
    """
    check_tutorial(saved)
    preprocess, layers = saved.preprocess, _layers(saved)
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "firstlight",
            "trainable": True,
            "dtype": "float32",
            "layers": [_described(kind, values) for kind, values, _ in layers],
            "build_input_shape": [None, *preprocess.image_shape],
        },
        "registered_name": None,
        "build_config": {"input_shape": [None, *preprocess.image_shape]},
    }
    members = {
        METADATA: write_json({"keras_version": KERAS_VERSION, "firstlight": card}).encode(),
        CONFIG: write_json(config).encode(),
        WEIGHTS: _hdf5(layers),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return stream.getvalue()


def _layers(saved: SavedModel) -> list[Layer]:
    """Keras's layers, one for each of ours but the activations, which theirs have inside."""
    modules = dict(saved.model.named_children())
    layers: list[Layer] = [
        ("InputLayer", {"batch_shape": [None, *saved.preprocess.image_shape]}, []),
        ("Rescaling", {"scale": 1 / 255, "offset": 0.0}, []),
    ]
    counts = Counter[type[choice.Layer]]()
    for layer in saved.architecture.network.layers:
        counts[type(layer)] += 1
        module = modules.get(f"{layer.kind}{counts[type(layer)]}")
        if isinstance(layer, choice.Conv) and isinstance(module, nn.Conv2d):
            kernel = module.weight.permute(2, 3, 1, 0)
            values = {"filters": layer.filters, "kernel_size": [layer.kernel] * 2}
            weights = _arrays(kernel, module.bias)
            layers.append(("Conv2D", {**values, "activation": layer.activation}, weights))
        elif isinstance(layer, choice.Dense) and isinstance(module, nn.Linear):
            last = layer.units == choice.CLASSES
            sharper = saved.temperature if last else 1.0
            weights = _arrays(module.weight.T / sharper, module.bias / sharper)
            values = {"units": module.out_features}
            activation = "softmax" if last else layer.activation
            layers.append(("Dense", {**values, "activation": activation}, weights))
        elif isinstance(layer, choice.MaxPool):
            layers.append(("MaxPooling2D", {"pool_size": [layer.size] * 2}, []))
        elif isinstance(layer, choice.Dropout):
            layers.append(("Dropout", {"rate": layer.share}, []))
        else:
            layers.append(("Flatten", {}, []))
    return layers


def _arrays(*tensors: Any) -> list[Float32Array]:
    return [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in tensors]


def _described(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    name = {} if kind == "InputLayer" else {"trainable": True}
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {**name, "dtype": "float32", **values},
        "registered_name": None,
    }


def _hdf5(layers: list[Layer]) -> bytes:
    import h5py

    stream, names = io.BytesIO(), GroupNames()
    with h5py.File(stream, "w") as file:
        for kind, _, weights in layers:
            if kind == "InputLayer":
                continue
            group = file.create_group(names.next(kind))
            for i, array in enumerate(weights):
                group.create_dataset(str(i), data=array)
    return stream.getvalue()


class GroupNames:
    """Where Keras keeps a layer's weights: by its class, numbered where there are several."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def next(self, kind: str) -> str:
        """The group of the next layer of a class, such as ``layers/conv2d_1/vars``."""
        snake = _SNAKE.get(kind, kind.lower())
        count = self._used.get(snake, 0)
        self._used[snake] = count + 1
        return f"layers/{snake}{f'_{count}' if count else ''}/vars"


_SNAKE = {"MaxPooling2D": "max_pooling2d"}


def check_tutorial(saved: SavedModel) -> None:
    """Raise ``UserError`` where a network, or how its pixels are scaled, is not a tutorial's."""
    preprocess = saved.preprocess
    layers = saved.architecture.network.layers
    strange = next((layer for layer in layers if not _is_known(layer)), None)
    if strange is not None:
        raise UserError(
            f"--format keras is for networks like the tutorial's, and this one has {strange!r}; "
            "--format onnx takes any"
        )
    if set(preprocess.mean) != {0.0} or set(preprocess.std) != {1.0}:
        raise UserError(
            "--format keras is for pixels / 255 without more; this run standardises them. "
            "--format onnx takes any"
        )


def _is_known(layer: choice.Layer) -> bool:
    if isinstance(layer, choice.Conv):
        plain = choice.Conv(layer.filters, kernel=layer.kernel, activation="relu", init=layer.init)
        return layer == plain
    if isinstance(layer, choice.Dense):
        return layer.bias and layer.activation in ("relu", "none")
    return isinstance(layer, choice.Flatten | choice.Dropout) or layer == choice.MaxPool(2)
