"""Run the Keras tutorial, and the short recipes that beat its accuracy, in turn on the same
machine.

    python benchmarks/quick_vs_keras.py --rounds 2

In each round Keras trains once, then each recipe with three seeds, because they take seconds. Every
run is a separate process. The result file is rewritten after each run; ``benchmarks/tables.py``
makes the table in the documents from it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from firstlight.files import write_whole
from firstlight.runs.record import processor_name
from tutorial_vs_keras import EPOCHS, HERE, keras_python, save_arrays, timed

RESULT = HERE / "results" / "quick_vs_keras.json"
RECIPES = {
    "mnist": ["mnist-quick"],
    "cifar10": [str(HERE / "recipes" / "cifar10-keras-accuracy.toml"), "cifar10-quick"],
}
RUNS = 3
"""Runs of each recipe per round."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="runs of Keras for each set")
    parser.add_argument("--sets", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    options = parser.parse_args()
    keras, whole = str(keras_python()), _begun(options.rounds)
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            arrays = str(save_arrays(name, Path(folder)))
            for number in range(options.rounds):
                tutorial = [arrays, name, str(number), str(EPOCHS[name])]
                sides = [("keras", [keras, str(HERE / "keras_tutorial.py"), *tutorial])]
                script = str(HERE / "firstlight_recipe.py")
                for seed in range(RUNS * number, RUNS * (number + 1)):
                    sides += [
                        (Path(recipe).stem, [sys.executable, script, name, str(seed), recipe])
                        for recipe in RECIPES[name]
                    ]
                for side, command in sides:
                    run = {"data": name, "round": number, "side": side, **timed(command)}
                    whole["runs"].append(run)
                    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")
                    accuracy = run["test_accuracy_by_epoch"][-1]
                    print(f"{name} {side}: {run['fit_seconds']:.1f} s, {accuracy:.4f}", flush=True)


def _begun(rounds: int) -> dict[str, Any]:
    return {
        "command": f"python benchmarks/quick_vs_keras.py --rounds {rounds}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "runs": [],
    }


if __name__ == "__main__":
    main()
