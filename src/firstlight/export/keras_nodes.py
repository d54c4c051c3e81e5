"""The layers of a Keras model, as listed in its ``config.json``, and their connections.

Every layer and every setting must be known here. Otherwise the file is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.errors import UserError
from firstlight.export.keras_file import GroupNames

ADDITION = "keras.src.ops.numpy"
"""The module of ``x + y`` in a functional model."""
# The value that a layer's setting must have for the layer to be read: one of a tuple, with Keras's
# default first. _READ: the conversion to our layer reads it. _ANY: it has no effect after training.
_READ, _ANY = None, object()
_LAST = ("channels_last",)
_CONV = {
    "kernel_size": _READ,
    "strides": _READ,
    "padding": ("valid", "same"),
    "data_format": _LAST,
    "dilation_rate": _READ,
    "activation": _READ,
    "use_bias": (True, False),
}
_POOL = {
    "pool_size": _READ,
    "strides": _READ,
    "padding": ("valid", "same"),
    "data_format": _LAST,
}
_DROPS = {"rate": _READ, "seed": _ANY, "noise_shape": _ANY, "data_format": _LAST}
_NORM = {"axis": _READ, "epsilon": _READ, "center": (True, False), "scale": (True, False)}
WANTED: dict[str, dict[str, Any]] = {
    "InputLayer": {"batch_shape": _READ, "sparse": (False,), "ragged": (False,), "optional": _ANY},
    "Rescaling": {"scale": _READ, "offset": _READ},
    "Normalization": {"axis": _READ, "invert": (False,), "mean": _READ, "variance": _READ},
    "Conv2D": {**_CONV, "filters": _READ, "groups": _READ},
    "DepthwiseConv2D": {**_CONV, "depth_multiplier": _READ},
    "SeparableConv2D": {**_CONV, "filters": _READ, "depth_multiplier": _READ},
    "ZeroPadding2D": {"padding": _READ, "data_format": _LAST},
    "Dense": {"units": _READ, "activation": _READ, "use_bias": (True, False)},
    "Flatten": {"data_format": _LAST},
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalMaxPooling2D": {"data_format": _LAST, "keepdims": (False,)},
    "GlobalAveragePooling2D": {"data_format": _LAST, "keepdims": (False,)},
    "BatchNormalization": {
        **_NORM,
        "momentum": _READ,
        "synchronized": _ANY,
        "renorm": (False,),
        "renorm_clipping": _ANY,
        "renorm_momentum": _ANY,
    },
    "LayerNormalization": {**_NORM, "rms_scaling": (False,)},
    "GroupNormalization": {**_NORM, "groups": _READ},
    "Dropout": _DROPS,
    "SpatialDropout2D": _DROPS,
    "Activation": {"activation": _READ},
    "ReLU": {"max_value": (None, 6), "negative_slope": _READ, "threshold": (0,)},
    "LeakyReLU": {"negative_slope": _READ},
    "ELU": {"alpha": (1,)},
    "Softmax": {"axis": _READ},
    "Identity": {},
    "Add": {},
    "Concatenate": {"axis": _READ},
}
_MOST_LAYERS = 2000
_TRAINING = ("name", "trainable", "_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One layer of a Keras model, with only known settings."""

    kind: str
    """Its class."""
    name: str
    values: dict[str, Any]
    """Its settings, without those that have no effect after training."""
    inputs: tuple[str, ...]
    """Names of the layers whose outputs it takes."""
    group: str
    """The group of its weights in the file."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The layers by name, and the one whose output is the model's."""

    nodes: dict[str, Node]
    output: str


def graph(path: Path, config: dict[str, Any]) -> Graph:
    """Return the layers of a model.

    Raises ``UserError`` with the name of an unknown layer or setting. A damaged file raises
    ``LookupError``, ``TypeError``, ``AttributeError`` or ``ValueError``.
    """
    kind, registered = config["class_name"], config.get("registered_name")
    if (kind, registered) not in (("Sequential", None), ("Functional", "Functional")):
        raise UserError(
            f"{path}: wanted a Sequential or functional model, got {str(kind)[:60]!r}. A "
            "subclassed model would have to be executed"
        )
    saved, groups = config["config"]["layers"], GroupNames()
    if len(saved) > _MOST_LAYERS:
        raise UserError(f"{path}: wanted at most {_MOST_LAYERS:,} layers, got {len(saved):,}")
    nodes: dict[str, Node] = {}
    last = ""
    for number, one in enumerate(saved, start=1):
        name = str(one["config"].get("name", f"{one['class_name']} {number}"))
        if name in nodes:
            raise ValueError(f"two layers have the name {name[:60]!r}")
        here = f"{path}: layer {name[:60]!r}"
        if kind == "Sequential":
            inputs: tuple[str, ...] = (last,) if last else ()
        else:
            inputs = _inputs(here, one["inbound_nodes"])
        last, nodes[name] = name, _node(here, name, one, inputs, groups)
    if kind == "Functional":
        _single(path, "input", config["config"]["input_layers"])
        last = _single(path, "output", config["config"]["output_layers"])
    return Graph(nodes=nodes, output=last)


def _single(path: Path, what: str, ends: Any) -> str:
    """Return the name of the only input or output layer of a functional model."""
    while isinstance(ends, list) and len(ends) == 1:
        ends = ends[0]
    if not isinstance(ends, list) or not isinstance(ends[0], str):
        found = len(ends) if isinstance(ends, list) else f"a {type(ends).__name__}"
        raise UserError(f"{path}: wanted a model with one {what}, got {found}")
    return str(ends[0])


def _inputs(here: str, calls: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the layers whose outputs a layer takes. Raises ``UserError`` if it is called twice."""
    if not calls:
        return ()
    if len(calls) > 1:
        raise UserError(
            f"{here} is used in {len(calls)} places with the same weights. Shared weights are "
            "not supported"
        )
    call = calls[0]
    for key, value in call["kwargs"].items():
        # Frozen batch norm is called with training=False: as in prediction.
        if value is not None and (key, value) != ("training", False):
            raise UserError(f"{here} is called with {key[:60]}={str(value)[:60]}, which is unknown")
    args = call["args"]
    tensors = args[0] if len(args) == 1 and isinstance(args[0], list) else args
    return tuple(_history(here, tensor) for tensor in tensors)


def _history(here: str, tensor: Any) -> str:
    if not isinstance(tensor, dict) or tensor.get("class_name") != "__keras_tensor__":
        raise UserError(f"{here} takes {str(tensor)[:60]} besides the outputs of other layers")
    name, call, number = tensor["config"]["keras_history"]
    if (call, number) != (0, 0):
        raise UserError(
            f"{here} takes the second output, or call, of layer {str(name)[:60]!r}. Only one per "
            "layer is supported"
        )
    return str(name)


def _node(
    here: str, name: str, saved: dict[str, Any], inputs: tuple[str, ...], groups: GroupNames
) -> Node:
    kind, module = saved["class_name"], saved.get("module")
    if (kind, module, saved.get("registered_name")) == ("Add", ADDITION, "Add"):
        return Node(kind="Add", name=name, values={}, inputs=inputs, group="")
    if kind in ("Sequential", "Functional") and str(module).startswith("keras"):
        raise UserError(f"{here} is itself a model. Build the model from its layers instead")
    if kind not in WANTED or module != "keras.layers" or saved.get("registered_name"):
        whole = str(kind) if module == "keras.layers" else f"{module}.{kind}"
        raise UserError(
            f"{here} is a {whole[:60]}, which is not supported. Only {', '.join(WANTED)} of "
            "keras.layers are, and nothing in a file is executed"
        )
    return Node(
        kind=kind,
        name=name,
        values=settings(here, kind, saved["config"]),
        inputs=inputs,
        group=groups.next(kind),
    )


def settings(here: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a layer of this class, with Keras's defaults for missing ones. Raises
    ``UserError`` with the name of an unknown setting."""
    values, wanted = dict(config), WANTED[kind]
    policy = values.pop("dtype", "float32")
    policy = policy["config"]["name"] if isinstance(policy, dict) else policy
    if policy != "float32" and (kind, policy) != ("InputLayer", "uint8"):
        raise UserError(f"{here} computes in {str(policy)[:60]}; wanted float32")
    for key in [k for k in values if k.endswith(_TRAINING)]:
        del values[key]
    for key, value in values.items():
        if key not in wanted:
            if value is not None:
                raise UserError(f"{here}: unknown setting {key[:60]}={str(value)[:60]}")
        elif isinstance(wanted[key], tuple) and value not in wanted[key]:
            words = " or ".join(map(str, wanted[key]))
            raise UserError(f"{here}: wanted {key}={words}, got {str(value)[:60]}")
    usual = {key: one[0] for key, one in wanted.items() if isinstance(one, tuple)}
    return usual | values
