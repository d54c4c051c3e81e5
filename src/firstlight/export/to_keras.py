"""Write a tutorial network as a ``.keras`` file, for ``keras.models.load_model``.

It takes images as they are, 0 to 255: scaling to the network's input is its first layer, and the
calibration's temperature is in the weights of its last.
Axes: H height, W width, I inputs, O outputs, K classes.
"""

import io
import json
import zipfile
from collections import Counter
from typing import Any

from torch import Tensor

from firstlight.errors import UserError
from firstlight.models.catalog import Architecture
from firstlight.runs.checkpoint import SavedModel

# The version whose files these are like; later ones read them too.
KERAS_VERSION = "3.15.1"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a ZIP's earliest: the same network gives the same file


def keras_file(saved: SavedModel) -> bytes:
    """The file's content. Raises ``UserError`` for a network that is not the tutorial's."""
    choice = saved.architecture.choice
    if choice.name != "tutorial":
        raise UserError(
            f"a .keras file can hold the tutorial's networks, and this one is {choice.name}; "
            "leave out --format keras, which gives an ONNX file"
        )
    layers = _layers(saved)
    config = {
        **_object("keras", "Sequential", {"name": "firstlight", "layers": layers}),
        "compile_config": None,
    }
    parts = {
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION, "date_saved": ""}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": _weights(saved, [layer["class_name"] for layer in layers]),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), content)
    return stream.getvalue()


def _layers(saved: SavedModel) -> list[dict[str, Any]]:
    architecture = saved.architecture
    choice, preprocess = architecture.choice, saved.preprocess
    # (x / 255 - mean) / std = x·scale + offset
    scales = [1 / (255 * std) for std in preprocess.std]
    offsets = [-mean / std for mean, std in zip(preprocess.mean, preprocess.std, strict=True)]
    alike = len(set(scales)) == len(set(offsets)) == 1
    shape = [None, *architecture.image_shape]
    layers = [
        _layer("InputLayer", {"batch_shape": shape, "dtype": "float32", "name": "image"}),
        _layer(
            "Rescaling",
            {
                "name": "rescaling",
                "scale": scales[0] if alike else scales,
                "offset": offsets[0] if alike else offsets,
            },
        ),
    ]
    for number, width in enumerate(choice.widths):
        kernel = choice.first_kernel if number == 0 else 3
        convolution = {
            "name": f"convolution_{number + 1}",
            "filters": width,
            "kernel_size": [kernel, kernel],
            "strides": [1, 1],
            "padding": "valid",
            "activation": "relu",
        }
        layers.append(_layer("Conv2D", convolution))
        if number < len(choice.widths) - 1 or choice.pool_last:
            pool = {"name": f"pool_{number + 1}", "pool_size": [2, 2], "strides": [2, 2]}
            layers.append(_layer("MaxPooling2D", {**pool, "padding": "valid"}))
    hidden = {"name": "hidden", "units": choice.dense, "activation": "relu"}
    layers += [_layer("Flatten", {"name": "flatten"}), _layer("Dense", hidden)]
    if choice.dropout > 0:
        layers.append(_layer("Dropout", {"name": "dropout", "rate": choice.dropout}))
    last = {"name": "probabilities", "units": architecture.classes, "activation": "softmax"}
    return [*layers, _layer("Dense", last)]


def _layer(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return _object("keras.layers", kind, config)


def _object(module: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """As Keras writes whatever it can make again."""
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _weights(saved: SavedModel, kinds: list[str]) -> bytes:
    """HDF5: ``layers/<kind>[_<number>]/vars/0`` for kernels, ``1`` for biases."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "a .keras file is written by h5py: pip install 'firstlight[keras]'"
        ) from error
    weights = saved.model.state_dict()
    named = iter(_names(saved.architecture))
    words = {"Conv2D": "conv2d", "Dense": "dense", "MaxPooling2D": "max_pooling2d"}
    counted: Counter[str] = Counter()
    stream = io.BytesIO()
    with h5py.File(stream, "w", track_order=True) as file:
        file.create_group("vars")
        for kind in kinds[1:]:  # an input has no place in it
            word = words.get(kind, kind.lower())
            number = counted[word]
            counted[word] += 1
            group = file.create_group(f"layers/{word}{f'_{number}' if number else ''}/vars")
            if kind in ("Conv2D", "Dense"):
                ours = next(named)
                divisor = saved.temperature if ours == "logits" else 1.0
                group["0"] = _kernel(weights[f"{ours}.weight"] / divisor)
                group["1"] = (weights[f"{ours}.bias"] / divisor).cpu().numpy()
    return stream.getvalue()


def _names(architecture: Architecture) -> list[str]:
    convolutions = [f"convolutions.{n}" for n in range(len(architecture.choice.widths))]
    return [*convolutions, "hidden", "logits"]


def _kernel(weight: Tensor) -> Any:
    """Keras has H×W×I×O and I×O where PyTorch has O×I×H×W and O×I."""
    turned = weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.T
    return turned.contiguous().cpu().numpy()
