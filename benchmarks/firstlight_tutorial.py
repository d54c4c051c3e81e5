"""The classic tutorial in firstlight, one run: python firstlight_tutorial.py mnist|cifar10 SEED.

It prints one JSON line. The time is that of ``fl.train``: loading, checksums, training,
validation after each epoch, and every checkpoint.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

import firstlight as fl
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_epochs


def main(name: str, seed: int, epochs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = fl.train(
            name, f"{name}-tutorial", seed=seed, epochs=epochs, out=Path(folder) / "run", quiet=True
        )
        seconds = time.perf_counter() - started
        rows = read_epochs(RunFolder(run.path))
        print(
            json.dumps(
                {
                    "fit_seconds": seconds,
                    "parameters": run.summary["parameters"],
                    "test_accuracy_by_epoch": [row["validation_accuracy"] for row in rows],
                    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    "versions": {"firstlight": fl.__version__, "torch": torch.__version__},
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
