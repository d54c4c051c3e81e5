"""Make a run of a tutorial network that was trained in Keras."""

from dataclasses import fields, replace
from pathlib import Path

from torch import Generator

from firstlight.data.catalog import CATALOG
from firstlight.errors import UserError
from firstlight.export.from_keras import KerasNetwork, read_keras
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.recipe import Recipe, TrainChoice
from firstlight.runs import checkpoint, record
from firstlight.runs.folder import RunFolder, create_run
from firstlight.threads import usable_threads
from firstlight.training.loop import EpochRecord
from firstlight.verbs.run_data import DataRequest, describe, preprocess_for


def import_keras(
    path: Path,
    request: DataRequest | None = None,
    *,
    data_dir: Path | None = None,
    root: Path = Path("runs"),
    out: Path | None = None,
) -> RunFolder:
    """A finished run with the weights of a ``.keras`` file.

    ``request`` is the data it was trained on, which gives it its class names and its test set; by
    default the set of the catalogue with such images and so many classes (MNIST comes before
    Fashion-MNIST). Raises ``DataError`` for a file that cannot be read, and ``UserError`` for
    another kind of network or data that do not fit it.
    """
    network = read_keras(path)
    request = request or DataRequest(name=_set_like(network, path), data_dir=data_dir)
    data = request.load()
    train = data.train
    if (train.image_shape, len(train.class_names)) != (network.image_shape, network.classes):
        raise UserError(
            f"{path} takes images of {_shape(network.image_shape)} in {network.classes} classes; "
            f"{request.name} has images of {_shape(train.image_shape)} in "
            f"{len(train.class_names)} classes"
        )
    recipe = Recipe(
        name=f"{train.name.partition('/')[0]}-keras",
        description=f"Not trained here: taken over from {path.name}, of Keras {network.version}.",
        model=network.choice,
        train=TrainChoice(validation="none"),
    )
    architecture = Architecture(
        choice=network.choice, image_shape=network.image_shape, classes=network.classes
    )
    model = architecture.build(Generator())
    model.load_state_dict(network.tensors)
    folder = create_run(recipe.name, root=root, out=out)
    folder.write_json("environment.json", record.environment("cpu", usable_threads()))
    folder.write_json("data.json", describe(request, data, 0, None))
    folder.write("recipe.toml", recipe.to_toml())
    folder.write("epochs.csv", ",".join(f.name for f in fields(EpochRecord)) + "\n")
    channels = network.image_shape[2]
    plain = preprocess_for(train, standardise=False)
    preprocess = replace(plain, mean=(network.mean,) * channels, std=(network.std,) * channels)
    checkpoint.save_model(folder, model, architecture, preprocess, train.class_names)
    folder.write_json(
        "summary.json",
        {
            "recipe": recipe.name,
            "imported": path.name,
            "parameters": parameter_count(model),
            "epochs": 0,
            "passes": 0.0,
            "steps": 0,
            "train_seconds": 0.0,
        },
    )
    return folder


def _set_like(network: KerasNetwork, path: Path) -> str:
    """The first set of the catalogue with such images and classes."""
    for name in ("mnist", "cifar10", "digits"):
        entry = CATALOG[name]
        if (entry.image_shape, len(entry.class_names)) == (network.image_shape, network.classes):
            return name
    raise UserError(
        f"{path} takes images of {_shape(network.image_shape)} in {network.classes} classes, as no "
        "set of the catalogue has; name the data it was trained on: firstlight import MODEL DATA"
    )


def _shape(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
