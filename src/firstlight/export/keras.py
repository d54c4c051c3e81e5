"""A network as a Keras 3 file (``.keras``): a zip of JSON and of weights in HDF5.

A list of layers becomes a Sequential model; with residual blocks or branches it becomes a
functional model. Both take pixels 0 to 255, N×H×W×C, and return calibrated probabilities, which of
several labels are sigmoids.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from firstlight.errors import UserError
from firstlight.export.keras_file import CONFIG, METADATA, WEIGHTS, GroupNames
from firstlight.export.keras_write import Written, written
from firstlight.plain import write_json
from firstlight.runs.checkpoint import SavedModel

KERAS_VERSION = "3.0.0"
"""The version named as the writer: the first that reads this format."""
# A fixed date for each member of the zip, so that the same run gives the same file.
_DATE = (1980, 1, 1, 0, 0, 0)


def keras_bytes(saved: SavedModel, card: Mapping[str, Any]) -> bytes:
    """Return the file's content. Raises ``UserError`` for a layer that Keras does not have."""
    layers = written(saved)
    functional = any(len(one.inputs) > 1 for one in layers)
    members = {
        METADATA: write_json({"keras_version": KERAS_VERSION, "firstlight": card}).encode(),
        CONFIG: write_json(_functional(layers) if functional else _sequential(layers)).encode(),
        WEIGHTS: _hdf5(layers),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return stream.getvalue()


def check_writable(saved: SavedModel) -> None:
    """Raise ``UserError`` if the network has a layer that Keras lacks, or is the user's own
    code."""
    if saved.architecture.network.code is not None:
        raise UserError(
            "--format keras is for networks made of known layers; this one is code, which a "
            "Keras file cannot hold. Use --format onnx"
        )
    written(saved)


def _sequential(layers: list[Written]) -> dict[str, Any]:
    shape = [None, *layers[0].shape]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "firstlight",
            "trainable": True,
            "dtype": "float32",
            "layers": [_described(one) for one in layers],
            "build_input_shape": shape,
        },
        "registered_name": None,
        "build_config": {"input_shape": shape},
    }


def _functional(layers: list[Written]) -> dict[str, Any]:
    by_name = {one.name: one for one in layers}

    def connected(one: Written) -> dict[str, Any]:
        tensors: list[Any] = [_tensor(by_name[name]) for name in one.inputs]
        args = [tensors] if len(tensors) > 1 else tensors
        calls: dict[str, Any] = {"args": args, "kwargs": {}}
        return {
            **_described(one),
            "name": one.name,
            "inbound_nodes": [calls] if tensors else [],
        }

    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "firstlight",
            "trainable": True,
            "layers": [connected(one) for one in layers],
            "input_layers": [layers[0].name, 0, 0],
            "output_layers": [layers[-1].name, 0, 0],
        },
        "registered_name": "Functional",
        "build_config": {"input_shape": None},
    }


def _tensor(of: Written) -> dict[str, Any]:
    return {
        "class_name": "__keras_tensor__",
        "config": {
            "shape": [None, *of.shape],
            "dtype": "float32",
            "keras_history": [of.name, 0, 0],
        },
    }


def _described(one: Written) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": one.kind,
        "config": {"name": one.name, "dtype": "float32", **one.values},
        "registered_name": None,
    }


def _hdf5(layers: list[Written]) -> bytes:
    import h5py

    stream, names = io.BytesIO(), GroupNames()
    with h5py.File(stream, "w") as file:
        for one in layers:
            group = file.create_group(names.next(one.kind))
            for number, array in enumerate(one.weights):
                group.create_dataset(str(number), data=array)
    return stream.getvalue()
