"""Measure what each part of the short recipes contributes: one change at a time, on paired seeds.

    python benchmarks/ablations.py --seeds 3

A tenth of the training images is held out and measured; the test set is not used. The result file
is rewritten after each run, and runs already in it are not repeated. ``benchmarks/tables.py`` makes
the table in the documents from it.
"""

import argparse
import json
import os
import platform
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Generator, Tensor, nn

import firstlight as fl
from firstlight.layers import Whiten
from firstlight.layers.networks import whitened
from firstlight.models.whitening import Whitening
from firstlight.parts import plain_value
from firstlight.recipe import recipe_of
from firstlight.runs.record import processor_name
from firstlight.toml_text import toml_value

RESULT = Path(__file__).resolve().parent / "results" / "ablations.json"
HELD_OUT = "train.held_out_fraction=0.1"
AFFINE = ("augment=[{ rotate = 10 }, { shift = 0.05 }]",)
MOVED = "{ crop = 2 }, { flip = 'alternate' }"


def network(widths: tuple[int, ...], stem: Whiten, **choices: Any) -> tuple[str]:
    """Return the setting of a whitened network."""
    return (f"network.layers={toml_value(plain_value(whitened(widths, stem=stem, **choices)))}",)


def cifar10_quick(kernel: int = 2, stride: int = 1, activation: str = "gelu") -> tuple[str]:
    """Return the network of ``cifar10-quick`` with another stem or activation."""
    stem = Whiten(24, kernel=kernel, stride=stride, bias=True)
    return network((32, 64, 128), stem, activation=activation, scale=0.008)


def mnist(activation: str = "relu", pool_last: bool = False, **choices: Any) -> tuple[str]:
    """Return the network of ``mnist-quick`` or ``mnist-standard`` with another end or
    activation."""
    widths, filters = choices.pop("widths", (32, 64)), choices.pop("filters", 16)
    stem = Whiten(filters, kernel=4, stride=2)
    return network(widths, stem, activation=activation, pool_last=pool_last, **choices)


# Not a setting, because nobody should use it: see ``random_stem``.
RANDOM_STEM = "random stem filters, trained"
ADAM = {
    f"Adam instead of Muon, learning rate {rate}": (
        "optimizer.name=adam",
        f"optimizer.learning_rate={rate}",
    )
    for rate in (0.003, 0.01, 0.03)
}

# The changes, by their name in the table. No settings means the recipe itself.
CHANGES: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar10-quick": {
        "unchanged": (),
        "no test-time augmentation": ("network.views=one",),
        "test-time augmentation by mirroring only": ("network.views=mirror",),
        "no mirroring": ("augment=[{ crop = 2 }]",),
        "random mirroring": ("augment=[{ crop = 2 }, { flip = 'random' }]",),
        "no shifts": ("augment=[{ flip = 'alternate' }]",),
        "cutout of 8 pixels": (f"augment=[{MOVED}, {{ cutout = 8 }}]",),
        "MixUp": (f"augment=[{MOVED}, {{ mixup = 0.2 }}]",),
        "CutMix": (f"augment=[{MOVED}, {{ cutmix = 1 }}]",),
        "no label smoothing": ("train.label_smoothing=0.0",),
        "weight averaging": ("train.average_decay=0.95",),
        "ReLU instead of GELU": cifar10_quick(activation="relu"),
        **ADAM,
        "stem of 4×4 with stride 2": cifar10_quick(kernel=4, stride=2),
        "stem bias zero": ("network.1.bias=false",),
        RANDOM_STEM: (),
        "full-size images, two epochs": ("train.small_share=0", "train.epochs=2"),
    },
    "mnist-quick": {
        "unchanged": (),
        "rotations and shifts": AFFINE,
        "test-time augmentation by shifting": ("network.views=shift",),
        "cutout of 8 pixels": ("augment=[{ cutout = 8 }]",),
        "no label smoothing": ("train.label_smoothing=0.0",),
        "weight averaging": ("train.average_decay=0.95",),
        "GELU instead of ReLU": mnist("gelu", scale=0.03),
        **ADAM,
        RANDOM_STEM: (),
        "global max-pooling at the end": mnist(pool_last=True, scale=0.03),
        "float32": ("train.precision=float32",),
    },
    "mnist-standard": {
        "unchanged": (),
        "no rotations, no shifts": ("augment=[]",),
        "rotations and shifts twice as large": ("augment=[{ rotate = 20 }, { shift = 0.1 }]",),
        "three full epochs": ("train.epoch_share=1", "train.epochs=3"),
        "test-time augmentation by shifting": ("network.views=shift",),
        "no label smoothing": ("train.label_smoothing=0.0",),
        "weight averaging": ("train.average_decay=0.99",),
        RANDOM_STEM: (),
        "no global pooling at the end": mnist(widths=(64, 128), scale=0.02),
        **ADAM,
    },
}


def random_stem(seed: int) -> AbstractContextManager[object]:
    """Replace whitening: the stem is initialized like PyTorch's convolutions, and is trained."""

    def see(stem: Whitening, pixels_NCHW: Tensor) -> None:
        rng = Generator().manual_seed(seed)
        nn.init.kaiming_uniform_(stem.weight, a=5**0.5, generator=rng)
        stem.weight.requires_grad = True

    return patch.object(Whitening, "see", see)


def measured(recipe: str, settings: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Return held-out accuracy and seconds of one run with these settings."""
    data = recipe.partition("-")[0]
    with tempfile.TemporaryDirectory() as folder:
        run = fl.train(
            data,
            recipe,
            settings=[HELD_OUT, *settings],
            seed=seed,
            out=Path(folder) / "run",
            quiet=True,
        )
        kept = run.summary["kept_epoch"]
        return {
            "held_out_accuracy": kept["validation_accuracy"],
            "held_out_loss": kept["validation_loss"],
            "train_seconds": run.summary["train_seconds"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="One change at a time, on paired seeds.")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each change")
    parser.add_argument("--recipes", nargs="+", default=list(CHANGES), choices=list(CHANGES))
    options = parser.parse_args()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    if whole.get("processor", processor_name()) != processor_name():
        raise SystemExit(f"{RESULT} is of another processor; move it away first")
    forms = {name: fl.load_recipe(name).to_table() for name in CHANGES}
    for recipe in {run["recipe"] for run in whole["runs"]} & set(options.recipes):
        measured_form = whole.get("recipes", {}).get(recipe, {"name": "none"})
        if recipe_of(measured_form, source=recipe).to_table() != forms[recipe]:
            raise SystemExit(f"{RESULT} is of another form of {recipe}; move it away first")
    seeds = whole.get("seeds", {}) | dict.fromkeys(options.recipes, options.seeds)
    whole |= {
        "seeds": seeds,
        "recipes": whole.get("recipes", {}) | {name: forms[name] for name in options.recipes},
        "command": "; ".join(
            f"python benchmarks/ablations.py --recipes {name} --seeds {number}"
            for name, number in seeds.items()
        ),
        "processor": processor_name(),
        "python": platform.python_version(),
        "versions": {"firstlight": fl.__version__, "torch": torch.__version__},
    }
    for recipe in options.recipes:
        for seed in range(options.seeds):
            for name, change in CHANGES[recipe].items():
                key = {"recipe": recipe, "change": name, "settings": list(change), "seed": seed}
                if any(key.items() <= run.items() for run in whole["runs"]):
                    continue
                load = os.getloadavg()[0]
                with random_stem(seed) if name == RANDOM_STEM else nullcontext():
                    figures = measured(recipe, change, seed)
                whole["runs"].append({**key, **figures, "load_before": load})
                RESULT.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
                share = 100 * figures["held_out_accuracy"]
                print(f"{recipe} seed {seed} {name}: {share:.2f} %", flush=True)


if __name__ == "__main__":
    main()
