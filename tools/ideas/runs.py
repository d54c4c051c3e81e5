"""The small trainings that docs/ideas.md shows."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import firstlight as fl
from firstlight import layers
from firstlight.errors import NothingLearntWarning
from firstlight.recipe import load_recipe
from firstlight.runs.folder import open_run_folder
from firstlight.runs.record import read_epochs

IMAGES = 2000
"""Training images of each run; the same number is held out and measured after each epoch."""
TEST_IMAGES = 2 * IMAGES
HELD_OUT = ("train.validation=held-out", "train.held_out_fraction=0.5")

OVERFITTING = ("cifar10-tutorial", "cifar10-tutorial-augmented", "cifar10-tutorial-dropout")
DIGITS = "mnist-tutorial"
RATES = (0.003, 0.1, 1.0)
"""Learning rates of plain gradient descent for MNIST's tutorial network: too small, good, too
large."""
SWEPT = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Learning rates of the deeper network with and without batch norm."""
SECONDS = "processor-seconds.txt"
"""The file of a run with its duration."""
FILTERS = (8, 8, 16, 16, 32, 32)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """The data of a finished run for the figures."""

    folder: Path
    epochs: list[dict[str, Any]]
    """The lines of ``epochs.csv``."""
    recipe: fl.Recipe
    processor_seconds: float

    @property
    def training_losses(self) -> list[float]:
        """Mean training loss of each epoch, over its batches."""
        return [row["train_loss"] for row in self.epochs]

    @property
    def validation_losses(self) -> list[float]:
        """Loss on the held-out images after each epoch."""
        return [row["validation_loss"] for row in self.epochs]

    @property
    def best(self) -> int:
        """The epoch with the lowest validation loss, from 1."""
        losses = self.validation_losses
        return 1 + losses.index(min(losses))


def swept(rate: float, normed: bool) -> str:
    """Return the name of a run of the deeper network."""
    return f"six-convolutions-{rate:g}{'-batch-norm' if normed else ''}"


def at_rate(rate: float) -> str:
    """Return the name of a run of the tutorial's network with plain gradient descent."""
    return f"{DIGITS}-{rate:g}"


def recipes() -> dict[str, fl.Recipe]:
    """Return each run's recipe by the run's name."""
    found = {name: of_length(load_recipe(name), 20) for name in OVERFITTING}
    found[DIGITS] = of_length(load_recipe(DIGITS), 5)
    for rate in RATES:
        found[at_rate(rate)] = descending(found[DIGITS], rate)
    for rate in SWEPT:
        for normed in (False, True):
            recipe = load_recipe(DIGITS).with_parts(network=six_convolutions(normed))
            found[swept(rate, normed)] = descending(of_length(recipe, 2), rate)
    return {name: replace(recipe, name=name, description="") for name, recipe in found.items()}


def of_length(recipe: fl.Recipe, epochs: int) -> fl.Recipe:
    """Set the number of epochs, and hold out half of the images."""
    return recipe.with_settings([*HELD_OUT, f"train.epochs={epochs}"])


def descending(recipe: fl.Recipe, rate: float) -> fl.Recipe:
    """Use plain gradient descent without momentum."""
    return recipe.with_parts(optimizer=fl.SGD(learning_rate=rate, momentum=0.0))


def six_convolutions(normed: bool) -> list[layers.Layer]:
    """Return pairs of convolutions with pooling after each pair, with or without batch norm after
    each."""
    found: list[layers.Layer] = []
    for number, filters in enumerate(FILTERS):
        if normed:
            conv = layers.Conv(filters, kernel=3, padding="same", bias=False)
            found += [conv, layers.BatchNorm(), layers.Activation("relu")]
        else:
            found.append(layers.Conv(filters, kernel=3, padding="same", activation="relu"))
        if number % 2:
            found.append(layers.MaxPool(2))
    return [*found, layers.Flatten(), layers.Dense("classes")]


def train_all(folder: Path) -> Mapping[str, Ran]:
    """Train every run that is not in the folder, in order."""
    for name, recipe in recipes().items():
        if (folder / name / "summary.json").is_file():
            continue
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingLearntWarning)  # two of the rates are too large
            data = name.partition("-")[0] if name in OVERFITTING else "mnist"
            fl.train(data, recipe, out=folder / name, limit=TEST_IMAGES, quiet=True)
        seconds = time.process_time() - began
        (folder / name / SECONDS).write_text(f"{seconds:.1f}", encoding="utf-8")
        print(f"{name}: {seconds:.0f} s of processor time", flush=True)
    return {name: ran(folder / name) for name in recipes()}


def ran(path: Path) -> Ran:
    """Open a finished run."""
    folder = open_run_folder(path)
    return Ran(
        folder=path,
        epochs=read_epochs(folder),
        recipe=folder.recipe(),
        processor_seconds=float((path / SECONDS).read_text(encoding="utf-8")),
    )
