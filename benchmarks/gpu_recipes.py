"""Tune the recipes for a GPU on held-out images: one change at a time, on paired seeds.

    python benchmarks/gpu_recipes.py --seeds 5

Accuracy needs no GPU, only patience: on one core of a busy Xeon with AMX, a run of ``cifar10-gpu``
took twenty minutes. A tenth of the training images is held out and measured; the test set is not
used. The result file is rewritten after each run, and runs already in it are not repeated.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

import firstlight as fl
from ablations import measured
from firstlight.runs.record import processor_name

RESULT = Path(__file__).resolve().parent / "results" / "gpu_recipes.json"
CHANGES = {
    "cifar10-gpu": {
        "unchanged": (),
        "logits half as large": ("network.26.rescale=0.004",),
        "learning rate of filters 0.34": ("optimizer.learning_rate=0.34",),
        "learning rate of filters 0.17": ("optimizer.learning_rate=0.17",),
        "batches of 1,000": ("train.batch_size=1000",),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="One change at a time, on paired seeds.")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each change")
    options = parser.parse_args()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    whole["command"] = f"python benchmarks/gpu_recipes.py --seeds {options.seeds}"
    for seed in range(options.seeds):
        for recipe, changes in CHANGES.items():
            for name, settings in changes.items():
                # With its settings, a changed recipe is another one.
                chosen = fl.load_recipe(recipe).with_settings(settings).to_table()
                key = {"recipe": chosen, "change": name, "seed": seed}
                if any(key.items() <= run.items() for run in whole["runs"]):
                    continue
                figures = measured(recipe, settings, seed)
                machine = {"processor": processor_name(), "python": platform.python_version()}
                versions = {"firstlight": fl.__version__, "torch": torch.__version__}
                whole["runs"].append({**key, **figures, **machine, "versions": versions})
                RESULT.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
                share = 100 * figures["held_out_accuracy"]
                print(f"{recipe} seed {seed} {name}: {share:.2f} %", flush=True)


if __name__ == "__main__":
    main()
