"""Start from a trained run: its network with a new last layer, its image size, its pixel path."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from firstlight.errors import UserError
from firstlight.layers.own_code import OwnCode
from firstlight.models.network import head
from firstlight.recipe import Recipe
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import open_run_folder
from firstlight.verbs.run_data import DataRequest


def open_start(path: str | Path, code: OwnCode | None = None) -> SavedModel:
    """The trained network to start from, with its code where it is code. Raises ``UserError`` where
    that is no finished run."""
    folder = open_run_folder(Path(path))
    folder.code = code
    folder.require_finished()
    return load_model(folder)


def request_like(request: DataRequest, start: SavedModel) -> DataRequest:
    """Pictures of one's own in the shape of the run's images; others must have it already."""
    if request.own is None:
        return request
    if request.size is not None:
        raise UserError("--from takes the images in the size of its run; leave out --size")
    shape = start.architecture.image_shape
    return request if request.shape == shape else replace(request, shape=shape)


def recipe_like(recipe: Recipe, path: Path, start: SavedModel) -> Recipe:
    """The recipe with the run's network, starting from its weights; with whole images throughout
    where the network takes one size alone."""
    network, folder = start.architecture.network, open_run_folder(path).path
    share = recipe.train.small_share if network.any_size else 0.0
    train = replace(recipe.train, start_from=str(folder.resolve()), small_share=share)
    return replace(recipe, network=network, train=train)


def take_over(model: nn.Module, start: SavedModel, shape: tuple[int, int, int]) -> None:
    """Copy all weights but the last layer's into a network for images of ``shape``.

    Raises ``UserError`` where the two do not fit.
    """
    check_shape(start, shape)
    own, last = model.state_dict(), f"{head(model)}."
    weights = {k: v for k, v in start.model.state_dict().items() if not k.startswith(last)}
    if {k: v.shape for k, v in weights.items()} != {
        k: v.shape for k, v in own.items() if not k.startswith(last)
    }:
        raise UserError(
            "the recipe's network is not that of the run to start from; leave its [network] alone"
        )
    model.load_state_dict({**own, **weights})


def check_shape(start: SavedModel, shape: tuple[int, int, int]) -> None:
    """Raise ``UserError`` where the run's images are not of ``shape``."""
    if start.architecture.image_shape != shape:
        theirs, these = ("×".join(map(str, s)) for s in (start.architecture.image_shape, shape))
        raise UserError(
            f"the run to start from has images of {theirs}, these are {these} (height, width, "
            "channels); start from another run, or from none"
        )
