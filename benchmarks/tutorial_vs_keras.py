"""Run the classic tutorial in Keras and in firstlight, in alternating runs on the same machine.

    python benchmarks/tutorial_vs_keras.py --seeds 3

Keras gets its own environment (``.venv-keras``, created by the first call). The result file holds
every run's figures; ``benchmarks/tables.py`` makes the tables in the documents from it.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

import firstlight as fl
from firstlight.runs.record import processor_name
from firstlight.threads import SPINS

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "tutorial_vs_keras.json"
EPOCHS = {"mnist": 5, "cifar10": 10}


def keras_python() -> Path:
    """Return the interpreter of Keras's environment, which is created if necessary."""
    folder = HERE.parent / ".venv-keras"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "tensorflow-cpu==2.21.0"], check=True)
    return python


def timed(command: list[str]) -> dict[str, Any]:
    """Run one side in its own process; return its JSON line, and the seconds of the whole process.

    Each side gets the environment that this process was started with. Importing firstlight here
    changes how threads wait, and that must not affect the others.
    """
    ours = ("GOMP_SPINCOUNT", str(SPINS))
    env = dict(item for item in os.environ.items() if item != ours)
    load_before = os.getloadavg()[0]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    seconds = time.perf_counter() - started
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "process_seconds": seconds, "load_before": load_before}


def save_arrays(name: str, folder: Path) -> Path:
    """Save the data set as ``.npz``, for sides without firstlight."""
    train, test = fl.load(name)
    arrays = folder / f"{name}.npz"
    np.savez(
        arrays,
        train_images=train.images_NHWC,
        train_labels=train.labels_N,
        test_images=test.images_NHWC,
        test_labels=test.labels_N,
    )
    return arrays


def run_set(name: str, seeds: int, python: Path, folder: Path) -> list[dict[str, Any]]:
    """Return all runs of one data set: Keras, firstlight, Keras, firstlight, …"""
    arrays, epochs, runs = str(save_arrays(name, folder)), str(EPOCHS[name]), []
    for seed in map(str, range(seeds)):
        keras = [str(python), str(HERE / "keras_tutorial.py"), arrays, name, seed, epochs]
        ours = [sys.executable, str(HERE / "firstlight_recipe.py"), name, seed, f"{name}-tutorial"]
        for side, command in (("keras", keras), ("firstlight", ours)):
            figures = timed(command)
            runs.append({"side": side, "seed": int(seed), **figures})
            final = figures["test_accuracy_by_epoch"][-1]
            print(f"{name} seed {seed} {side}: {figures['fit_seconds']:.1f} s, {final:.4f}")
    return runs


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means, spreads, and the ratios firstlight / Keras, pair by pair."""
    sides = {s: [r for r in runs if r["side"] == s] for s in ("keras", "firstlight")}
    summary: dict[str, Any] = {}
    for side, of_side in sides.items():
        finals = [r["test_accuracy_by_epoch"][-1] for r in of_side]
        summary[side] = {
            "n": len(finals),
            "accuracy_mean": statistics.mean(finals),
            "accuracy_sd": statistics.stdev(finals),
            "fit_seconds_median": statistics.median(r["fit_seconds"] for r in of_side),
            "process_seconds_median": statistics.median(r["process_seconds"] for r in of_side),
            "peak_memory_mb_median": statistics.median(r["peak_memory_mb"] for r in of_side),
        }
    for figure in ("fit_seconds", "process_seconds", "peak_memory_mb"):
        pairs = zip(sides["firstlight"], sides["keras"], strict=True)
        ratios = [ours[figure] / theirs[figure] for ours, theirs in pairs]
        summary[f"{figure}_ratio_median"] = statistics.median(ratios)
    ours, theirs = summary["firstlight"], summary["keras"]
    error = math.sqrt(
        ours["accuracy_sd"] ** 2 / ours["n"] + theirs["accuracy_sd"] ** 2 / theirs["n"]
    )
    difference = ours["accuracy_mean"] - theirs["accuracy_mean"]
    summary["accuracy_difference"] = difference
    summary["accuracy_difference_standard_error"] = error
    summary["agrees_within_two_standard_errors"] = abs(difference) <= 2 * error
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side and set")
    parser.add_argument("--sets", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    options = parser.parse_args()
    python = keras_python()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"sets": {}}
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            runs = run_set(name, options.seeds, python, Path(folder))
        whole["sets"][name] = {
            "command": f"python benchmarks/tutorial_vs_keras.py --seeds {options.seeds}",
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "epochs": EPOCHS[name],
            "runs": runs,
            "summary": summarise(runs),
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(whole, indent=2) + "\n")
        print(json.dumps(whole["sets"][name]["summary"], indent=2))


if __name__ == "__main__":
    main()
