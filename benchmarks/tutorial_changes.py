"""Train the tutorial's networks and modified ones, one process per run, each on one thread.

    python benchmarks/tutorial_changes.py                      # all; about an hour
    python benchmarks/tutorial_changes.py --sets mnist --seeds 0

Each change is made to the tutorial's recipe alone; everything else stays the same. Every run is
saved in ``results/tutorial_changes.json``, in the same way as in ``networks.py``.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from firstlight import layers
from firstlight.layers.layer import Layer
from firstlight.recipe import Recipe, load_recipe
from networks import keep
from tutorial_vs_keras import timed

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "tutorial_changes.json"
EPOCHS = 5
"""Half of the tutorial's on CIFAR-10."""
Layers = tuple[Layer, ...]


def convolution(network: Layers) -> Layers:
    """Add a convolution like the last one before flatten, which keeps the size of the maps."""
    last = [one for one in network if isinstance(one, layers.Conv)][-1]
    at = next(n for n, one in enumerate(network) if isinstance(one, layers.Flatten))
    return (*network[:at], replace(last, padding="same"), *network[at:])


def batch_norm(network: Layers) -> Layers:
    """Add batch norm after each convolution, before its activation."""
    found: list[Layer] = []
    for one in network:
        if isinstance(one, layers.Conv):
            plain = replace(one, bias=False, activation="none")
            found += [plain, layers.BatchNorm(), layers.Activation(one.activation)]
        else:
            found.append(one)
    return tuple(found)


def dropout(network: Layers) -> Layers:
    """Add dropout before the last layer."""
    return (*network[:-1], layers.Dropout(0.5), network[-1])


def every(network: Layers) -> Layers:
    """Make all three changes."""
    return dropout(batch_norm(convolution(network)))


CHANGES: dict[str, Callable[[Layers], Layers]] = {
    "as-it-is": lambda network: network,
    "convolution": convolution,
    "batch-norm": batch_norm,
    "dropout": dropout,
    "all-three": every,
}
SETS = ("mnist", "cifar10")


def changed(data: str, change: str) -> Recipe:
    """Return the tutorial's recipe for a data set, with one change."""
    recipe = load_recipe(f"{data}-tutorial")
    network = replace(recipe.network, layers=CHANGES[change](recipe.network.layers))
    return replace(
        recipe,
        name=f"{data}-tutorial-{change}",
        description="",
        network=network,
        train=replace(recipe.train, epochs=EPOCHS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    order = [f"{data}-tutorial-{change}" for data in SETS for change in CHANGES]
    for seed in options.seeds:
        for data in options.sets:
            for change in options.changes:
                recipe = changed(data, change)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / f"{recipe.name}.toml"
                    file.write_text(recipe.to_toml(), encoding="utf-8")
                    command = [sys.executable, str(HERE / "firstlight_recipe.py")]
                    run = timed([*command, data, str(seed), str(file)])
                keep(recipe, seed, run, RESULT, order)


if __name__ == "__main__":
    main()
