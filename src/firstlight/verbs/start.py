"""Start from a trained run or a backbone: its network with a new last layer, and its
preprocessing."""

import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from firstlight.backbones import BACKBONES, backbone_named, is_backbone
from firstlight.checked import nearest
from firstlight.errors import UserError
from firstlight.hub.word import is_hub
from firstlight.layers import Resize
from firstlight.layers.layer import Layer, Shape
from firstlight.layers.network import Network
from firstlight.layers.own_code import OwnCode
from firstlight.layers.root import SquareRoot, feature_layers, never_negative
from firstlight.models.network import head
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.runs.box import boxed_names
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import open_run_folder
from firstlight.runs.from_hub import hub_run
from firstlight.verbs.run_data import DataRequest


def backbone_of(network: Network) -> str:
    """Return the name of the backbone that computes a network's features; empty if there is
    none."""
    own = feature_layers(network.layers)[isinstance(_first(network), Resize) :]
    return next((name for name, one in BACKBONES.items() if one.layers()[:-1] == own), "")


def open_start(
    where: str | Path, code: OwnCode | None = None, *, connect: bool = True
) -> SavedModel:
    """Return the trained network to start from, with its code if it has any. With ``connect``, a
    run on the hub may be downloaded. Raises ``UserError`` if it is not a finished run,
    ``DataError`` if a backbone's weights are not here, and as ``hub_run`` does."""
    if is_backbone(where):
        from firstlight.backbones.weights import open_backbone

        return open_backbone(backbone_named(str(where)).name)
    word = str(where)
    is_name = os.sep not in word and not is_hub(where) and word not in boxed_names()
    if is_name and not os.path.lexists(where):
        choice = nearest(word, tuple(BACKBONES), what="the backbones are")
        raise UserError(f"{where}: no such run folder, model in the box or backbone; {choice}")
    folder = open_run_folder(
        hub_run(where, connect=connect).folder if is_hub(where) else Path(where)
    )
    folder.code = code
    folder.require_finished()
    return load_model(folder)


def request_like(request: DataRequest, where: str | Path, start: SavedModel) -> DataRequest:
    """Bring the user's own pictures to the shape of the start; other data keep theirs."""
    if request.own is None:
        return request
    shape, why = start.architecture.image_shape, f"the size that {where} takes"
    if request.size is not None:
        if not is_backbone(where):
            raise UserError("--from uses the image size of its run; leave out --size")
        if not start.architecture.network.any_size:
            raise UserError(f"{where} takes only images of {shape[0]}×{shape[1]}; leave out --size")
        shape, why = (request.size, request.size, shape[2]), "as asked for"
    if request.shape == shape:
        return request
    return replace(request, shape=shape, shape_why=why, size=None)


def recipe_like(
    recipe: Recipe, where: str | Path, start: SavedModel, shape: Shape | None = None
) -> Recipe:
    """Return the recipe with the start's network and weights. It uses only whole images if the
    network takes a single size. Before a backbone, images of ``shape`` are resized."""
    network = start.architecture.network
    if is_backbone(where):
        begun = backbone_named(str(where)).name
        if shape is not None:
            network = replace(network, layers=(*_resized(start, shape), *network.layers))
        if recipe.train.start_head == "linear":
            network = replace(network, layers=_rooted(network.layers))
        network = replace(network, views=recipe.network.views)
    elif is_hub(where):
        begun = str(hub_run(where).word)
    else:
        begun = str(open_run_folder(Path(where)).path.resolve())
    share = recipe.train.small_share if network.any_size else 0.0
    train = replace(recipe.train, start_from=begun, small_share=share)
    return replace(recipe, network=network, train=train)


def _rooted(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Insert the square root of features before the last layer, if none is negative."""
    below = feature_layers(layers)
    return (*below, SquareRoot(), *layers[len(below) :]) if never_negative(below) else layers


def _resized(start: SavedModel, shape: Shape) -> tuple[Resize, ...]:
    """Return the layer that resizes images of a named data set, or arrays, for a backbone."""
    side, _, channels = start.architecture.image_shape
    if shape == (side, side, channels):
        return ()
    return (Resize(side, channels=channels if shape[2] != channels else 0),)


def take_over(model: nn.Module, start: SavedModel) -> None:
    """Copy all weights except the last layer's into a network.

    Raises ``UserError`` if the two do not fit.
    """
    own, last = model.state_dict(), f"{head(model)}."
    weights = {k: v for k, v in start.model.state_dict().items() if not k.startswith(last)}
    if {k: v.shape for k, v in weights.items()} != {
        k: v.shape for k, v in own.items() if not k.startswith(last)
    }:
        raise UserError(
            "the recipe's network is not that of the run to start from; do not change its [network]"
        )
    model.load_state_dict({**own, **weights})


def check_shape(start: SavedModel, recipe: Recipe, shape: Shape) -> None:
    """Raise ``UserError`` if images of ``shape`` differ from those the start was trained on."""
    first, wanted = _first(recipe.network), start.architecture.image_shape
    given = first.output(shape) if isinstance(first, Resize) else shape
    if given == wanted:
        return
    backbone = is_backbone(recipe.train.start_from)
    if backbone and recipe.network.any_size and given[2] == wanted[2]:
        return
    theirs, these = ("×".join(map(str, s)) for s in (wanted, given))
    raise UserError(
        f"the run to start from takes images of {theirs}, got {these} (height, width, channels). "
        "Start from another run, or from none"
    )


def _first(network: Network) -> object:
    return network.layers[0] if network.layers else None


def pixel_path(own: Preprocess, start: SavedModel) -> Preprocess:
    """Return the images' own preprocessing with the mean and deviation of the start. For grey
    images and a colour network, those are averaged over its channels."""
    mean, std = start.preprocess.mean, start.preprocess.std
    if len(mean) != own.channels:
        mean, std = ((sum(numbers) / len(numbers),) * own.channels for numbers in (mean, std))
    return replace(own, mean=mean, std=std)
