"""firstlight with its defaults, one run: python firstlight_side.py FOLDER SEED; prints one JSON
line."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

import firstlight as fl


def main(root: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = fl.train(root, seed=seed, out=Path(folder) / "run", quiet=True)
        seconds = time.perf_counter() - started
        print(
            json.dumps(
                {
                    "fit_seconds": seconds,
                    "test_accuracy": run.evaluate().accuracy,
                    "chosen": run.recipe.description,
                    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    "versions": {"firstlight": fl.__version__, "torch": torch.__version__},
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
