"""Make a run from a network that Keras trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from firstlight.data.dataset import TrainTest
from firstlight.errors import DataError, UserError
from firstlight.export.keras_import import KerasNetwork, read_keras
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.packages import imported
from firstlight.recipe import Recipe, TrainChoice
from firstlight.runs import checkpoint, record
from firstlight.runs.folder import RunFolder, create_run
from firstlight.threads import usable_threads
from firstlight.verbs.run_data import DataRequest, describe, preprocess_for

# Data set by the shape of the images, as in the tutorial.
USUAL_DATA = {(28, 28, 1): "mnist", (32, 32, 3): "cifar10", (8, 8, 1): "digits"}


def import_keras(
    path: Path,
    *,
    data: str | TrainTest | None = None,
    root: Path = Path("runs"),
    out: Path | None = None,
    data_dir: Path | None = None,
) -> RunFolder:
    """Return a finished run with the weights of a ``.keras`` file, as if it had been trained here.

    ``data`` is the training data, by default the data set whose images have the network's shape. It
    gives the class names and must be on this machine. Raises ``UserError``, with the name, for
    anything that a list of layers cannot express, and ``DataError`` for a damaged file.
    """
    need_h5py()
    read = read_keras(path)
    request = _request(read, data, data_dir)
    loaded = request.load()
    train = loaded.train
    if (train.image_shape, len(train.class_names)) != (read.image_shape, read.classes):
        raise UserError(
            f"{path} takes images of {_times(read.image_shape)} and has {read.classes} classes, "
            f"but {request.name} has {_times(train.image_shape)} and {len(train.class_names)}. "
            "Name the data it was trained on with --data"
        )
    architecture = Architecture(
        network=read.network, image_shape=read.image_shape, classes=read.classes
    )
    model = _model(path, read, architecture)
    recipe = Recipe(
        name=f"{Path(request.name).stem}-keras",
        description=f"Imported from {path.name}: only [network] is known, not the training",
        network=read.network,
        train=replace(TrainChoice(), validation="none"),
    )
    folder = create_run(recipe.name, root=root, out=out)
    with folder.locked():
        folder.write_json("environment.json", record.environment("cpu", usable_threads()))
        folder.write_json("data.json", describe(request, loaded, len(train), None, folder.path))
        folder.write("recipe.toml", recipe.to_toml())
        plain = preprocess_for(train, standardize=False)
        preprocess = replace(plain, mean=read.mean, std=read.std)
        saved = checkpoint.SavedModel(
            model=model,
            architecture=architecture,
            preprocess=preprocess,
            class_names=train.class_names,
        )
        checkpoint.save_model(folder, saved)
        folder.write_json("summary.json", _summary(path, read, recipe, model))
    return folder


def need_h5py() -> None:
    """Raise ``UserError`` if h5py cannot be imported."""
    imported("h5py", "a .keras file")


def _request(
    read: KerasNetwork, data: str | TrainTest | None, data_dir: Path | None
) -> DataRequest:
    if isinstance(data, TrainTest):
        return DataRequest(name=data.train.name.partition("/")[0], data=data)
    name = data or USUAL_DATA.get(read.image_shape)
    if name is None:
        raise UserError(
            f"the model takes images of {_times(read.image_shape)}. Name the data it was trained "
            "on with --data"
        )
    request = DataRequest(name=name, data_dir=data_dir)
    return replace(request, shape=read.image_shape if request.own else None, download=False)


def _model(path: Path, read: KerasNetwork, architecture: Architecture) -> nn.Module:
    model = architecture.build(Generator())
    weights = {name: torch.from_numpy(array) for name, array in read.weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path}: the weights do not match its layers: {error}") from error
    return model.eval()


def _summary(path: Path, read: KerasNetwork, recipe: Recipe, model: nn.Module) -> dict[str, Any]:
    """Return the summary of the training, as far as it is known."""
    return {
        "recipe": recipe.name,
        "seed": 0,
        "parameters": parameter_count(model),
        "epochs": 0,
        "passes": 0.0,
        "steps": 0,
        "train_seconds": 0.0,
        "imported_from": {"file": path.name, "keras": read.keras_version, "scales": read.scales},
    }


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
