"""Read a network that Keras trained from its ``.keras`` file. Nothing in it is executed.

A ``.keras`` file is a zip. Every member, layer, setting and array in it must be known here, and is
checked against limits before it is read. Otherwise the file is refused.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from firstlight import layers as choice
from firstlight.errors import DataError, UserError
from firstlight.export.keras_file import (
    CONFIG,
    METADATA,
    WEIGHTS,
    Arrays,
    Float32Array,
    json_object,
    members,
    weights,
)
from firstlight.export.keras_layers import Chain, affine, last_axis
from firstlight.export.keras_nodes import Node, graph
from firstlight.export.keras_steps import Join, Step, steps
from firstlight.layers.layer import CLASSES, Layer
from firstlight.layers.network import Network
from firstlight.models.catalog import Architecture
from firstlight.pixels import MOST_SIDE

_SCALES = ("Rescaling", "Normalization")
# Layers without weights: a scale after them still scales pixels.
_WEIGHTLESS = {"ZeroPadding2D", "Dropout", "SpatialDropout2D", "Identity", "Flatten"}
_WEIGHTLESS |= {"MaxPooling2D", "AveragePooling2D"}
_WEIGHTLESS |= {"GlobalMaxPooling2D", "GlobalAveragePooling2D"}


@dataclass(frozen=True, kw_only=True, eq=False)
class KerasNetwork:
    """The content of a ``.keras`` file."""

    network: Network
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    classes: int
    weights: dict[str, npt.NDArray[Any]]
    """Weights, by the names and in the axes of the network built from the layers."""
    scales: bool
    """Whether the model takes pixels from 0 to 255 and scales them itself."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, in ``(pixel / 255 - mean) / std``."""
    keras_version: str


def read_keras(path: Path | IO[bytes], *, several: bool = False) -> KerasNetwork:
    """Read the network from a file or an open file object. With ``several`` labels for an image, it
    ends in sigmoids.

    Raises ``DataError`` if the file is damaged or too large, and ``UserError``, with the name, for
    anything that a list of layers cannot express.
    """
    source, path = path, path if isinstance(path, Path) else Path("the file")
    found = members(path, source)
    config, metadata = (json_object(path, name, found[name]) for name in (CONFIG, METADATA))
    with weights(path, found[WEIGHTS]) as arrays:
        try:
            read = _read(path, config, arrays, "sigmoid" if several else "softmax")
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise DataError(f"{path}: {CONFIG} is damaged: {error!r}"[:400]) from error
    return replace(read, keras_version=str(metadata.get("keras_version"))[:40])


def _read(path: Path, config: dict[str, Any], arrays: Arrays, end: str) -> KerasNetwork:
    first, rest = steps(path, graph(path, config))
    shape = _image_shape(path, first)
    rest, ended = _without(end, rest)
    raw = _takes_raw_pixels(rest)
    mean, std, rest = _scaling(Chain(path, arrays, shape), rest, raw)
    chain = _scored(path, Chain(path, arrays, shape).steps(rest), ended)
    plain = set(mean) == {0.0} and set(std) == {1.0}
    try:
        network = Network(layers=tuple(chain.layers), pixels="scale" if plain else "standardize")
        architecture = Architecture(network=network, image_shape=shape, classes=chain.shape[0])
        tensors = architecture.shapes()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return KerasNetwork(
        network=network,
        image_shape=shape,
        classes=chain.shape[0],
        weights=_fitting(path, chain.weights, tensors),
        scales=raw,
        mean=mean,
        std=std,
        keras_version="",
    )


def _image_shape(path: Path, node: Node) -> tuple[int, int, int]:
    _, *sides = node.values["batch_shape"]
    if len(sides) != 3:
        raise UserError(
            f"{path}: wanted images, height × width × channels, got an Input with {len(sides)} axes"
        )
    for side in sides:
        if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= MOST_SIDE:
            raise UserError(
                f"{path}: wanted images of one size of at most {MOST_SIDE} pixels per side, got "
                f"Input({str(sides)[:60]}). Build the model with a fixed size"
            )
    if sides[2] not in (1, 3):
        raise UserError(f"{path}: wanted images of 1 or 3 channels, got {sides[2]}")
    return sides[0], sides[1], sides[2]


def _without(end: str, rest: tuple[Step, ...]) -> tuple[tuple[Step, ...], bool]:
    """Remove a softmax at the end, or a sigmoid, because our answers apply one anyway; also return
    whether there was one."""
    last = rest[-1] if rest else None
    if not isinstance(last, Node):
        return rest, False
    if last.kind == "Softmax" and end == "softmax":
        last_axis(last.values.get("axis", -1), (1,))
        return rest[:-1], True
    if last.values.get("activation") == end:
        values = {**last.values, "activation": "linear"}
        return (*rest[:-1], replace(last, values=values)), True
    return rest, False


def _takes_raw_pixels(rest: tuple[Step, ...]) -> bool:
    """Whether a scale comes before the first layer with weights or activation."""
    for step in rest:
        if isinstance(step, Join):
            if any(_takes_raw_pixels(branch) for branch in step.branches):
                return True
            if any(_works(branch) for branch in step.branches):
                return False
        elif step.kind in _SCALES:
            return True
        elif step.kind not in _WEIGHTLESS:
            return False
    return False


def _works(branch: tuple[Step, ...]) -> bool:
    return any(isinstance(one, Join) or one.kind not in _WEIGHTLESS for one in branch)


def _scaling(
    chain: Chain, rest: tuple[Step, ...], raw: bool
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[Step, ...]]:
    """Return mean and deviation of each channel of pixels / 255, and the steps after their
    scales."""
    channels = chain.shape[-1]
    factors, offsets = np.full(channels, 1.0 if raw else 1 / 255), np.zeros(channels)
    while rest and isinstance(node := rest[0], Node) and node.kind in _SCALES:
        with chain.naming(node):
            factor, offset = affine(chain, node)
            factors, offsets, rest = factors * factor, offsets * factor + offset, rest[1:]
            if not ((factors > 1e-20) & (factors < 1e20) & (abs(offsets) < 1e20)).all():
                raise UserError("wanted pixels times a number above 0, of ordinary size")
    stds, means = 1 / (255 * factors), 0.0 - offsets / (255 * factors)
    if np.allclose(stds, 1, rtol=1e-6) and not means.any():
        return (0.0,) * channels, (1.0,) * channels, rest
    return tuple(map(float, means)), tuple(map(float, stds)), rest


def _scored(path: Path, chain: Chain, ended: bool) -> Chain:
    """Return the layers with one dense layer that gives a score for each class. ``ended`` says
    whether probabilities of them were removed."""
    if len(chain.shape) != 1:
        raise UserError(
            f"{path}: wanted one score for each class at the end, got maps of "
            f"{'×'.join(map(str, chain.shape))}"
        )
    if chain.shape == (1,) and not ended:
        _two_classes(path, chain)
    elif not ended and isinstance(after := _last_part(chain), choice.Activation):
        raise UserError(
            f"{path}: wanted softmax at the end, or scores (linear), got {after.name}, which "
            "does not give class probabilities"
        )
    if not _ends_in_scores(chain):
        # Scores that do not come from a dense layer get an identity dense layer.
        kept = {"weight": np.eye(chain.shape[0], dtype=np.float32)}
        chain.add(choice.Dense(chain.shape[0], bias=False), kept)
    at, last = _last_dense(chain)
    chain.layers[at] = replace(last, units=CLASSES)
    return chain


def _last_dense(chain: Chain) -> tuple[int, choice.Dense]:
    """Return the last dense layer and its index. Raises ``ValueError`` if there is none."""
    dense = [(i, one) for i, one in enumerate(chain.layers) if isinstance(one, choice.Dense)]
    if not dense:
        raise ValueError("no dense layer")
    return dense[-1]


def _ends_in_scores(chain: Chain) -> bool:
    """Whether a dense layer gives the scores, and only allowed layers follow it."""
    if not any(isinstance(one, choice.Dense) for one in chain.layers):
        return False
    at, last = _last_dense(chain)
    behind = chain.layers[at + 1 :]
    return (last.units, last.activation) == (chain.shape[0], "none") and not any(
        isinstance(one, choice.Activation | choice.Dropout | choice.SpatialDropout)
        for one in behind
    )


def _last_part(chain: Chain) -> Layer | None:
    return chain.layers[-1].parts()[-1] if chain.layers else None


def _two_classes(path: Path, chain: Chain) -> None:
    """Turn one unit with a sigmoid into two with a softmax: the first class's score is 0."""
    if _last_part(chain) != choice.Activation("sigmoid"):
        raise UserError(f"{path}: wanted one score for each class at the end, got one number")
    inside = not isinstance(chain.layers[-1], choice.Activation)
    if not inside:
        chain.layers.pop()
    last = chain.layers[-1] if chain.layers else None
    if not isinstance(last, choice.Dense) or last.activation != ("sigmoid" if inside else "none"):
        raise UserError(f"{path}: wanted a Dense layer before the sigmoid at the end")
    dense = sum(isinstance(one, choice.Dense) for one in chain.layers)
    for name in [name for name in chain.weights if name.startswith(f"dense{dense}.")]:
        one: Float32Array = chain.weights[name]
        chain.weights[name] = np.concatenate([np.zeros_like(one), one])
    chain.layers[-1], chain.shape = replace(last, units=2, activation="none"), (2,)


def _fitting(
    path: Path, found: dict[str, Float32Array], tensors: dict[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays if they match the network's tensors. Raises ``DataError`` otherwise."""
    if {name: array.shape for name, array in found.items()} != tensors:
        raise DataError(f"{path}: its weights do not match its layers")
    return found
