"""Summarize a network: of a recipe for a data set, of a run, or of a run's weights file."""

from collections.abc import Sequence
from pathlib import Path

from firstlight.backbones import backbone_named, is_backbone
from firstlight.data.catalog import CATALOG
from firstlight.devices import computes_in_bfloat16
from firstlight.errors import UserError
from firstlight.layers.summary import Summary, summarize
from firstlight.recipe import Recipe
from firstlight.runs.checkpoint import load_architecture
from firstlight.runs.folder import RunFolder, open_run_folder
from firstlight.runtime import is_onnx
from firstlight.verbs.recipes import find_recipe, names_run
from firstlight.verbs.run_data import DataRequest

Inputs = tuple[tuple[int, int, int], int]
"""Height, width and channels of the images, and the number of classes."""


def network_summary(
    where: str, request: DataRequest | None = None, settings: Sequence[str] = ()
) -> Summary:
    """Return the summary of a named recipe, a recipe file, a run, its ``model.safetensors`` or a
    backbone, with ``settings`` changed, for the images of ``request``.

    Without a request, a run uses its own images, and a recipe those of the data set at the start of
    its name. Raises ``UserError`` if that does not identify them, or the network does not fit.
    """
    path = Path(where)
    if is_onnx(path):
        raise UserError(
            f"{where}: an ONNX file holds a graph of operations, not a list of layers. Give the "
            "run that it was exported from, or its recipe"
        )
    if path.suffix.lower() == ".safetensors" and not path.is_dir():
        if request is not None or settings:
            raise UserError(
                f"{where}: a weights file already has its image size and layers; leave out "
                "--data and --set"
            )
        found = load_architecture(path)
        return summarize(found.network, found.image_shape, found.classes)
    if is_backbone(where):
        if request is not None or settings:
            raise UserError(
                f"{where}: a backbone already has its image size and layers; leave out --data "
                "and --set"
            )
        backbone = backbone_named(where)
        return summarize(backbone.network, backbone.image_shape, len(backbone.class_names))
    recipe = find_recipe(where).with_settings(settings)
    folder = open_run_folder(path) if names_run(where) else None
    shape, classes = _inputs(recipe, folder, request)
    train, copies = recipe.train, recipe.optimizer.moments
    return summarize(
        recipe.network,
        shape,
        classes,
        batch_size=train.micro_batch_size or train.batch_size,
        moments=copies + (train.average_decay > 0),
        mixed=train.precision == "mixed" and computes_in_bfloat16("cpu"),
    )


def _inputs(recipe: Recipe, folder: RunFolder | None, request: DataRequest | None) -> Inputs:
    """Return the images that the network is for."""
    if request is None and folder is not None:
        with folder.trusted():
            described = folder.read_json("data.json")
            height, width, channels = described["image_shape"]
            return (height, width, channels), len(described["class_names"])
    name = recipe.name.partition("-")[0] if request is None else request.name
    if name in CATALOG:
        return CATALOG[name].image_shape, len(CATALOG[name].class_names)
    if request is None:
        raise UserError(
            "a summary needs the image size and the number of classes, which the recipe "
            f"{recipe.name} does not give. Name the data, such as --data mnist"
        )
    train = request.load().train
    return train.image_shape, len(train.class_names)
