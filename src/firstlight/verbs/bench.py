"""Train one recipe with several seeds and write down every run's figures."""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from firstlight.errors import DataError, UserError
from firstlight.files import write_whole
from firstlight.progress import Silent
from firstlight.recipe import Recipe
from firstlight.runs import record
from firstlight.training.devices import choose_device, usable_threads
from firstlight.verbs.evaluate import evaluate
from firstlight.verbs.fit import fit
from firstlight.verbs.run_data import DataRequest

Told = Callable[[dict[str, Any]], None]


def bench(
    request: DataRequest,
    recipe: Recipe,
    seeds: int,
    out: Path,
    *,
    device: str = "auto",
    told: Told | None = None,
) -> dict[str, Any]:
    """Figures of seeds 0, 1, …: the test set is read once a run, after training.

    ``out`` (JSON) is rewritten after each run, so that a bench can be stopped; the seeds that it
    holds already, of the same recipe, are not run again. ``told`` hears of each run. Raises
    ``UserError`` where ``out`` is of another recipe, and ``DataError`` where it cannot be written.
    """
    where, threads = choose_device(device), usable_threads()
    data = request.load()
    request = DataRequest(name=request.name, data=data)
    whole = _begun(out, request.name, recipe)
    whole["environment"] = record.environment(where, threads)
    _write(out, whole)  # a place that cannot be written is found out before the training
    for seed in range(seeds):
        if seed in [run["seed"] for run in whole["runs"]]:
            continue
        load, peak = os.getloadavg()[0], matmul_gflops(where)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            run = fit(
                request,
                recipe.with_settings([f"train.seed={seed}"]),
                Silent(),
                device=where,
                out=Path(folder) / "run",
            )
            fit_seconds = time.perf_counter() - started
            summary = run.read_json("summary.json")
            metrics = evaluate(run, device=where, data=data)
        figures = {
            "seed": seed,
            "test_accuracy": metrics.accuracy,
            "log_loss": metrics.log_loss,
            "fit_seconds": fit_seconds,
            "train_seconds": summary["train_seconds"],
            "evaluate_seconds": time.perf_counter() - started - fit_seconds,
            "peak_memory_mb": _peak_memory_mb(),
            "load_before": load,
            "matmul_gflops_before": peak,
        }
        whole["runs"].append(figures)
        whole["parameters"], whole["summary"] = summary["parameters"], summarise(whole["runs"])
        _write(out, whole)
        if told is not None:
            told(figures)
    return whole


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """n, mean and standard deviation of the accuracy, medians of the rest."""
    accuracies = [run["test_accuracy"] for run in runs]
    return {
        "n": len(runs),
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_sd": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "fit_seconds_median": statistics.median(run["fit_seconds"] for run in runs),
        "peak_memory_mb_max": max(run["peak_memory_mb"] for run in runs),
    }


def matmul_gflops(device: str, size: int = 1024, turns: int = 10) -> float:
    """Best of several fp32 matrix products on the device, in GFLOP/s: what it can do just now."""
    matrix = torch.randn(size, size, device=device)
    best = 0.0
    for _ in range(turns):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = max(best, 2e-9 * size**3 / (time.perf_counter() - started))
    return best


def _begun(out: Path, data: str, recipe: Recipe) -> dict[str, Any]:
    choices = json.loads(json.dumps(asdict(recipe.with_settings(["train.seed=0"]))))
    begun = {"data": data, "recipe": choices, "runs": []}
    if not out.exists():
        return begun
    try:
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        same = (found["data"], found["recipe"]) == (data, choices)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out}: not the result of a bench: {error!r}") from error
    if not same:
        raise UserError(f"{out} holds results of another recipe or data set; choose another --out")
    return found


def _write(out: Path, whole: dict[str, Any]) -> None:
    try:
        write_whole(out, json.dumps(whole, indent=2) + "\n")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror}") from error


def _peak_memory_mb() -> float:
    """The most this process has held resident; macOS counts in bytes, Linux in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
