"""Read a tutorial network that Keras trained from its ``.keras`` file. Nothing in it is executed.

A ``.keras`` file is a zip; every member, layer, setting and array in it is known by name here and
checked against bounds before it is read, or the file is refused.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.errors import DataError, UserError
from firstlight.export.keras import CONFIG, METADATA, WEIGHTS, GroupNames
from firstlight.layers.network import Network
from firstlight.layers.networks import tutorial
from firstlight.plain import read_json

if TYPE_CHECKING:
    import h5py

Float32Array = npt.NDArray[np.float32]

MOST_BYTES = {METADATA: 1 << 20, CONFIG: 1 << 20, WEIGHTS: 1 << 29}
"""Of each member, unpacked."""
MOST_SIDE = 4096
"""Pixels, filters, units: what no tutorial network comes near."""
# What a layer must say for its arithmetic to be the tutorial's; None: read below.
_WANTED: dict[str, dict[str, Any]] = {
    "InputLayer": {"batch_shape": None, "sparse": False, "ragged": False, "optional": False},
    "Rescaling": {"scale": None, "offset": 0},
    "Conv2D": {
        "filters": None,
        "kernel_size": None,
        "activation": "relu",
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "use_bias": True,
    },
    "MaxPooling2D": {
        "pool_size": [2, 2],
        "strides": [2, 2],
        "padding": "valid",
        "data_format": "channels_last",
    },
    "Flatten": {"data_format": "channels_last"},
    "Dropout": {"rate": None, "seed": None, "noise_shape": None},
    "Dense": {"units": None, "activation": None, "use_bias": True},
    "Activation": {"activation": "softmax"},
}
# What decides nothing once a network is trained.
_TRAINING = ("name", "trainable", "_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True, kw_only=True, eq=False)
class KerasNetwork:
    """What a ``.keras`` file holds."""

    network: Network
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    classes: int
    weights: dict[str, Float32Array]
    """By the names and in the axes of the network built from the layers."""
    scales: bool
    """Whether the model divides pixels by 255 itself."""
    keras_version: str


def read_keras(path: Path | IO[bytes]) -> KerasNetwork:
    """The network of a file, or of an opened one.

    Raises ``DataError`` where it is damaged or too large, and ``UserError`` where it is not a
    tutorial network, naming what is not.
    """
    source, path = path, path if isinstance(path, Path) else Path("the file")
    members = _members(path, source)
    config, metadata = (_json(path, name, members[name]) for name in (CONFIG, METADATA))
    try:
        layers = [_layer(path, layer) for layer in _sequential(path, config)]
        shape, scales, network, classes = _network(path, layers)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: {CONFIG} is damaged: {error!r}") from error
    weights = _weights(path, members[WEIGHTS], layers, shape[2])
    return KerasNetwork(
        network=network,
        image_shape=shape,
        classes=classes,
        weights=weights,
        scales=scales,
        keras_version=str(metadata.get("keras_version"))[:40],
    )


@dataclass(frozen=True, kw_only=True)
class _Layer:
    kind: str
    name: str
    values: dict[str, Any]


def _members(path: Path, source: Path | IO[bytes]) -> dict[str, bytes]:
    """The members of the zip, each read to its bound and no further."""
    found = {}
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            if sorted(names) != sorted(MOST_BYTES):
                raise DataError(
                    f"{path}: wanted a zip of {', '.join(MOST_BYTES)}, as Keras 3 writes it, and "
                    f"found {', '.join(names[:5]) or 'nothing'}"
                )
            for name, most in MOST_BYTES.items():
                with archive.open(name) as member:
                    found[name] = member.read(most + 1)
                if len(found[name]) > most:
                    raise DataError(f"{path}: {name} is larger than {most:,} bytes")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: not a .keras file, or a damaged one ({error}); Keras 3 writes one with "
            'model.save("NAME.keras")'
        ) from error
    return found


def _json(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        values = read_json(content)
    except ValueError as error:
        raise DataError(f"{path}: {name} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: {name} holds no object")
    return values


def _sequential(path: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    if (config["class_name"], config.get("registered_name")) != ("Sequential", None):
        raise UserError(
            f"{path}: wanted a Sequential model, as in the tutorial, and found "
            f"{config['class_name']!r}"
        )
    layers: list[dict[str, Any]] = config["config"]["layers"]
    return layers


def _layer(path: Path, saved: dict[str, Any]) -> _Layer:
    """One layer, every setting of it known. Raises ``UserError`` with the name of what is not."""
    kind, name = saved["class_name"], str(saved["config"].get("name", saved["class_name"]))[:60]
    here = f"{path}: layer {name!r}"
    if kind not in _WANTED or saved.get("module") != "keras.layers" or saved.get("registered_name"):
        raise UserError(
            f"{here} is a {str(kind)[:60]}, which is not read: only {', '.join(_WANTED)} are, and "
            "nothing in a file is executed"
        )
    values, wanted = dict(saved["config"]), _WANTED[kind]
    if (policy := _policy(values.pop("dtype", "float32"))) != "float32":
        raise UserError(f"{here} computes in {policy}; wanted float32")
    for key in [k for k in values if k.endswith(_TRAINING)]:
        del values[key]
    for key, value in values.items():
        if key not in wanted and value is not None:
            raise UserError(f"{here}: unknown setting {key[:60]}={str(value)[:60]}")
        if key in wanted and wanted[key] is not None and value != wanted[key]:
            raise UserError(f"{here}: wanted {key}={wanted[key]}, found {str(value)[:60]}")
    return _Layer(kind=kind, name=name, values=values)


def _policy(dtype: Any) -> Any:
    return dtype["config"]["name"] if isinstance(dtype, dict) else dtype


def _network(path: Path, layers: list[_Layer]) -> tuple[tuple[int, int, int], bool, Network, int]:
    """Image shape, whether pixels are scaled inside, the network, the number of classes."""
    rest = [layer for layer in layers if layer.kind != "Dropout"]
    first = rest.pop(0)
    if first.kind != "InputLayer":
        raise UserError(f"{path}: wanted an Input first, found {first.kind} {first.name!r}")
    _, *sides = first.values["batch_shape"]
    height, width, channels = (_size(side) for side in sides)
    if channels not in (1, 3):
        raise UserError(f"{path}: wanted images of 1 or 3 channels, found {channels}")
    scales = rest[0].kind == "Rescaling"
    if scales and not math.isclose(rest.pop(0).values["scale"], 1 / 255, rel_tol=1e-6):
        raise UserError(f"{path}: wanted pixels scaled by 1/255, found another scale")
    widths: list[int] = []
    kernels: list[int] = []
    pools = 0
    while rest and rest[0].kind == "Conv2D":
        layer = rest.pop(0)
        if len(widths) > pools:
            raise UserError(f"{path}: layer {layer.name!r} wants a MaxPooling2D before it")
        side, other = map(_size, layer.values["kernel_size"])
        widths.append(_size(layer.values["filters"]))
        kernels.append(side)
        if side != other or (len(kernels) > 1 and side != 3):
            raise UserError(f"{path}: layer {layer.name!r}: wanted 3×3 filters")
        if rest and rest[0].kind == "MaxPooling2D":
            rest.pop(0)
            pools += 1
    kinds = [layer.kind for layer in rest]
    ends = (["Flatten", "Dense", "Dense"], ["Flatten", "Dense", "Dense", "Activation"])
    if not widths or kinds not in ends:
        raise UserError(
            f"{path}: wanted convolutions with pools, Flatten and two Dense layers, as in the "
            f"tutorial; found {', '.join(layer.kind for layer in layers)}"
        )
    hidden, last = rest[1], rest[2]
    if hidden.values["activation"] != "relu":
        raise UserError(f"{path}: layer {hidden.name!r}: wanted activation=relu")
    if last.values["activation"] not in (("linear",) if len(rest) == 4 else ("softmax", "linear")):
        raise UserError(f"{path}: layer {last.name!r}: wanted activation=softmax or linear")
    network = Network(
        layers=tutorial(
            tuple(widths),
            kernel=kernels[0],
            pool_last=pools == len(widths),
            dense=_size(hidden.values["units"]),
            dropout=_rate_before(last, layers),
        )
    )
    return (height, width, channels), scales, network, _size(last.values["units"])


def _rate_before(last: _Layer, layers: list[_Layer]) -> float:
    """Of the Dropout right before the last dense layer; elsewhere it leaves answers as they are."""
    before = layers[layers.index(last) - 1]
    return float(before.values["rate"]) if before.kind == "Dropout" else 0.0


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_SIDE:
        raise ValueError(f"a size of {value!r}")
    return value


def _weights(
    path: Path, content: bytes, layers: list[_Layer], channels: int
) -> dict[str, Float32Array]:
    import h5py

    groups, found, convolutions, inputs, dense = GroupNames(), {}, 0, channels, 0
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            for layer in layers:
                if layer.kind == "InputLayer":
                    continue
                group = groups.next(layer.kind)
                if layer.kind == "Conv2D":
                    outputs = layer.values["filters"]
                    shape = (*layer.values["kernel_size"], inputs, outputs)
                    kernel = _array(file, f"{group}/0", shape).transpose(3, 2, 0, 1)
                    convolutions += 1
                    name, inputs = f"conv{convolutions}", outputs
                elif layer.kind == "Dense":
                    outputs = layer.values["units"]
                    kernel = _array(file, f"{group}/0", (None, outputs)).T
                    dense += 1
                    name = f"dense{dense}"
                else:
                    continue
                found[f"{name}.weight"] = np.ascontiguousarray(kernel)
                found[f"{name}.bias"] = _array(file, f"{group}/1", (outputs,))
    except (OSError, RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: {WEIGHTS} is damaged: {error}") from error
    return found


def _array(file: "h5py.File", name: str, shape: tuple[int | None, ...]) -> Float32Array:
    """One array of the file itself: no link to another file, of the shape that the layers have."""
    import h5py

    at: Any = file
    for part in name.split("/"):
        if not isinstance(at, h5py.Group) or not isinstance(
            at.get(part, getlink=True), h5py.HardLink
        ):
            raise ValueError(f"{name} is a link to elsewhere, or missing")
        at = at[part]
    if not isinstance(at, h5py.Dataset) or at.external or at.is_virtual:
        raise ValueError(f"{name} is no array of this file")
    if at.dtype != np.float32 or len(at.shape) != len(shape):
        raise ValueError(f"{name} is {at.dtype} of shape {at.shape}")
    sizes = zip(at.shape, shape, strict=True)
    if any(want not in (None, have) for have, want in sizes) or at.size * 4 > MOST_BYTES[WEIGHTS]:
        raise ValueError(f"{name} has the shape {at.shape}, wanted {shape}")
    array: Float32Array = at[...]
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array
