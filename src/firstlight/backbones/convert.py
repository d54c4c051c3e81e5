"""Convert published weights to a network of firstlight's layers.

Axes: T tokens, F features, h and w the positions of a position embedding.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from math import isqrt

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from firstlight.backbones.backbone import Backbone, Naming
from firstlight.errors import DataError
from firstlight.models.catalog import Architecture
from firstlight.models.network import head
from firstlight.plain import shown
from firstlight.runs.checkpoint import SavedModel

_TOLD = 4
"""Most tensors of each kind that a message names."""
_COUNTS = "num_batches_tracked"
"""A counter in batch norm, which prediction does not use and some files lack."""


def architecture(backbone: Backbone) -> Architecture:
    """Return the network for images of its size and the published classes, or for two classes."""
    return Architecture(
        network=backbone.network,
        image_shape=backbone.image_shape,
        classes=len(backbone.class_names),
    )


def published_names(naming: Naming, ours: Iterable[str]) -> dict[str, str]:
    """Map the network's tensors, given in the order of computation, to the publisher's names."""
    renamed, layers, found = dict(naming.renamed), iter(naming.layers), dict[str, str]()
    for layer, tensors in groupby(ours, key=lambda name: name.rpartition(".")[0]):
        there = next(layers)
        kind = layer.rpartition(".")[2].rstrip("0123456789")
        for tensor in tensors:
            name = tensor.rpartition(".")[2]
            found[tensor] = f"{there}.{renamed.get(f'{kind}.{name}', name)}"
    return found


def converted(backbone: Backbone, tensors: Mapping[str, Tensor], source: str) -> SavedModel:
    """Return the network with published tensors, in evaluation mode; ``source`` begins the
    messages.

    Tensors with firstlight's own names are accepted too. Raises ``DataError`` for another network's
    weights, naming the tensors that differ, and for numbers that are not finite.
    """
    made = architecture(backbone)
    model = made.build(Generator().manual_seed(0))
    wanted = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    last = f"{head(model)}."
    given = [name for name in wanted if backbone.classes or not name.startswith(last)]
    named = [published_names(one, given) for one in backbone.namings]
    named.append({name: name for name in given})
    names = max(named, key=lambda one: len(set(one.values()) & set(tensors)))
    unused = {name for one in backbone.namings for name in one.unused}
    _check(backbone, names, wanted, {k: v for k, v in tensors.items() if k not in unused}, source)
    state = {name: torch.zeros(shape) for name, shape in wanted.items()}
    for name, there in names.items():
        if there in tensors:
            state[name] = fitted(name, tensors[there], wanted[name])
    model.load_state_dict(state)
    return SavedModel(
        model=model.eval(),
        architecture=made,
        preprocess=backbone.preprocess,
        class_names=backbone.class_names,
        calibration=None,
    )


def fitted(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bring a published tensor to the network's shape. A position embedding for another image size
    is interpolated, as in Transformers."""
    if name.endswith(".positions") and tensor.numel() != shape[0] * shape[1]:
        return _positions(tensor.float().flatten(0, -2), shape)
    return tensor.reshape(shape)


def _positions(published_TF: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Keep the class token's embedding, and interpolate those of the positions bicubically."""
    side, published = isqrt(shape[0] - 1), isqrt(len(published_TF) - 1)
    grid_Fhw = published_TF[1:].T.unflatten(1, (published, published))
    grid_1Fhw = interpolate(grid_Fhw[None], size=(side, side), mode="bicubic")
    return torch.cat([published_TF[:1], grid_1Fhw[0].flatten(1).T])


def _fits(name: str, came: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a tensor has the wanted shape, or one that ``fitted`` can convert."""
    plain = tuple(side for side in came if side != 1) == tuple(side for side in wanted if side != 1)
    if not name.endswith(".positions") or plain:
        return plain
    places = came[-2] - 1 if len(came) > 1 else 0
    return came[-1] == wanted[-1] and places > 0 and isqrt(places) ** 2 == places


def _check(
    backbone: Backbone,
    names: Mapping[str, str],
    wanted: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    source: str,
) -> None:
    """Raise ``DataError`` listing every difference between the tensors and the network."""
    needed = [there for there in names.values() if not there.endswith(_COUNTS)]
    missing = [there for there in needed if there not in tensors]
    known = set(names.values())
    foreign = [name for name in tensors if name not in known]
    other = [
        f"{there} {tuple(tensors[there].shape)} instead of {wanted[name]}"
        for name, there in names.items()
        if there in tensors and not _fits(name, tuple(tensors[there].shape), wanted[name])
    ]
    told = [("missing", missing), ("not in the network", foreign), ("of another shape", other)]
    if any(some for _, some in told):
        raise DataError(
            f"{source}: not the weights of {backbone.name}. Of its {len(needed)} tensors "
            + "; ".join(f"{len(some)} {what}: {_first(some)}" for what, some in told if some)
        )
    for name, there in names.items():
        tensor = tensors.get(there)
        if tensor is None:
            continue
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{source}: the tensor {there} holds numbers that are not finite")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise DataError(f"{source}: the tensor {there} holds negative variances")


def _first(some: list[str]) -> str:
    """List the first few, and say if there are more."""
    return ", ".join(map(shown, some[:_TOLD])) + (", …" if len(some) > _TOLD else "")
