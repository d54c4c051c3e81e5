"""Run one firstlight recipe once: python firstlight_recipe.py mnist|cifar10 SEED RECIPE.

It prints one JSON line. The time includes ``fl.train``: loading, checksums, training, validation
after each epoch, and every checkpoint. It also includes the evaluation, unless the recipe itself
measures the test set after each epoch.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import firstlight as fl  # sets how threads wait, before PyTorch is loaded

# isort: split
import torch

from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_epochs


def main(name: str, seed: int, recipe: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started, before = time.perf_counter(), time.process_time()
        run = fl.train(name, recipe, seed=seed, out=Path(folder) / "run", quiet=True)
        rows = read_epochs(RunFolder(run.path))
        if run.recipe.train.validation == "test":
            accuracies = [row["validation_accuracy"] for row in rows]
        else:
            accuracies = [None] * (len(rows) - 1) + [run.evaluate().accuracy]
        seconds = time.perf_counter() - started
        processor_seconds = time.process_time() - before
        print(
            json.dumps(
                {
                    "fit_seconds": seconds,
                    "processor_seconds": processor_seconds,
                    "parameters": run.summary["parameters"],
                    "test_accuracy_by_epoch": accuracies,
                    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    "versions": {"firstlight": fl.__version__, "torch": torch.__version__},
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
