"""Train the networks of docs/networks.md, one process per run, each on one thread.

    python benchmarks/networks.py                                    # all; about two hours
    python benchmarks/networks.py --networks mnist-lenet5 --seeds 0  # one run

Every run is saved in ``results/networks.json``, replacing an earlier one with the same recipe and
seed. The file is rewritten after each run. The test images are predicted once, after training; a
``tutorial`` recipe measures them after each epoch, as the tutorial does, but selects nothing by
them.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstlight.data.catalog import CATALOG
from firstlight.files import write_whole
from firstlight.layers.sequence import shapes
from firstlight.recipe import Recipe, load_recipe
from firstlight.runs.record import processor_name
from tutorial_vs_keras import timed

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "networks.json"
SEEDS = {
    "mnist-logistic": 5,
    "mnist-mlp": 5,
    "mnist-lenet5": 5,
    "mnist-tutorial": 3,
    "mnist-quick": 5,
    "fashion_mnist-logistic": 5,
    "fashion_mnist-mlp": 5,
    "fashion_mnist-lenet5": 5,
    "fashion_mnist-tutorial": 3,
    "fashion_mnist-quick": 3,
    "cifar10-tutorial": 3,
    "cifar10-vgg": 3,
    "cifar10-resnet20": 1,
    "cifar10-mobile": 2,
    "cifar10-quick": 3,
}
"""Number of seeds for each recipe, counted from 0."""


def set_of(name: str) -> str:
    """Return the named data set that a recipe is for."""
    return name.partition("-")[0]


def multiply_adds(recipe: Recipe) -> int:
    """Return the multiply-adds for one image, in the layers that have weights."""
    entry = CATALOG[set_of(recipe.name)]
    layers = [layer.with_classes(len(entry.class_names)) for layer in recipe.network.layers]
    before = shapes(layers, entry.image_shape)
    return sum(layer.multiply_adds(at) for layer, at in zip(layers, before, strict=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of each network's own")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in options.networks:
        for seed in options.seeds or range(SEEDS[name]):
            command = [sys.executable, str(HERE / "firstlight_recipe.py")]
            run = timed([*command, set_of(name), str(seed), name])
            keep(load_recipe(name), seed, run, RESULT, list(SEEDS))


def keep(
    recipe: Recipe, seed: int, run: dict[str, Any], result: Path, order: Sequence[str]
) -> None:
    """Print a run, and add it to the result file, which keeps the recipes in this order."""
    print(
        f"{recipe.name} seed {seed}: {run['test_accuracy_by_epoch'][-1]:.4f}, "
        f"{run['processor_seconds']:.0f} processor seconds, {run['fit_seconds']:.0f} s",
        flush=True,
    )
    kept = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    network = {"multiply_adds": multiply_adds(recipe), "recipe": recipe.to_table()}
    runs = [
        one for one in kept.get("runs", []) if (one["recipe"], one["seed"]) != (recipe.name, seed)
    ]
    runs.append({"recipe": recipe.name, "seed": seed, **run})
    whole = {
        "command": f"python benchmarks/{result.stem}.py",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "networks": {**kept.get("networks", {}), recipe.name: network},
        "runs": sorted(runs, key=lambda one: (order.index(one["recipe"]), one["seed"])),
    }
    write_whole(result, json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
