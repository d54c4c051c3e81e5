"""Measure seconds and bytes of a training step on 1, 2 and 4 processes with one thread each.

    python benchmarks/scaling.py --rounds 3

Each run is ``torchrun ... -m firstlight train`` on images of CIFAR-10, with eight shards per batch.
The numbers of processes take turns. The first epoch of each run warms up; the others are timed.
``results/scaling.json`` is rewritten at the end.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firstlight.files import write_whole
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import processor_name, read_epochs
from firstlight.training.processes import Processes
from firstlight.training.shards import ShardedPass
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest

RESULT = Path(__file__).resolve().parent / "results" / "scaling.json"
RECIPES = ("cifar10-resnet20", "cifar10-vgg")
SHARDS, IMAGES, EPOCHS = 8, 2560, 3
COUNTS = (1, 2, 4)


class Counting(Processes):
    """A process that sends nothing, and counts what it would send."""

    numbers = 0

    def gather(self, numbers_N: Tensor) -> list[Tensor]:
        self.numbers += numbers_N.numel()
        return [numbers_N] * self.count


def sent(recipe: str, count: int) -> int:
    """Return the bytes that one of ``count`` processes sends to each other one after a step."""
    settings = [f"train.shards={SHARDS}", "train.validation=none"]
    job = plan(DataRequest(name="cifar10"), Asked(recipe=recipe, settings=settings))
    trainer, processes = job.trainer(), Counting(0, count)
    model, classes = trainer.model, job.architecture.classes
    trainer.shards = ShardedPass(model, classes, SHARDS, processes)
    next(trainer.run())
    return 4 * processes.numbers


def step_seconds(recipe: str, count: int) -> float:
    """Return the median seconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        words = ["train", "cifar10", "--recipe", recipe, "--limit", str(IMAGES), "--out", str(out)]
        choices = [f"train.shards={SHARDS}", "train.validation=none", f"train.epochs={EPOCHS}"]
        subprocess.run(
            [
                *(sys.executable, "-m", *launch, "-m", "firstlight", *words),
                *(part for choice in choices for part in ("--set", choice)),
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        rows = read_epochs(RunFolder(out))
    steps = (rows[1]["steps"] or 0) - (rows[0]["steps"] or 0)
    return statistics.median((row["train_seconds"] or 0) / steps for row in rows[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for recipe in RECIPES:
            for count in COUNTS:
                load = os.getloadavg()[0]
                seconds = step_seconds(recipe, count)
                run = {"recipe": recipe, "processes": count, "round": number}
                runs.append({**run, "step_seconds": seconds, "load_before": load})
                print(f"{recipe} on {count}: {1000 * seconds:.0f} ms a step", flush=True)
    whole = {
        "command": f"python benchmarks/scaling.py --rounds {options.rounds}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "shards": SHARDS,
        "bytes": {recipe: {str(n): sent(recipe, n) for n in COUNTS} for recipe in RECIPES},
        "runs": runs,
    }
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
