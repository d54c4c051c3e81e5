"""The table of recipes that ``firstlight bench`` measured, with notes on each row."""

import json
import statistics
from pathlib import Path
from typing import Any

from firstlight.recipe import load_recipe, recipe_names, recipe_of
from table_cells import RESULTS, accuracy, row_of, span

RECIPES = Path(__file__).resolve().parent / "recipes"

BUSY = "beside another training"
FLOAT32 = "Muon's products and the answers between epochs in float32"
CAVEATS = {
    "cifar10-best-avx2": "22 half epochs with the hardest images more often, a larger learning "
    "rate; partly beside tests",
    "cifar10-best-cpu": f"{BUSY}; the two slower runs partly beside tests",
    "cifar10-keras-accuracy-avx2": "stem bias still trained",
    "cifar10-standard-avx2": "7 half epochs of full-size images, stem bias zero; two minutes of "
    "the slower run beside tests",
    "cifar10-standard-cpu": f"{BUSY}; two runs also beside tests",
    "fashion_mnist-best-cpu": f"{BUSY}; three runs also beside tests",
    "fashion_mnist-quick-cpu": f"{BUSY}; {FLOAT32}",
    "fashion_mnist-standard-cpu": f"{BUSY}; {FLOAT32}; almost all held-out trousers were alike",
    "mnist-best-avx2": "40 half epochs, narrower network, global max-pooling at the end, no "
    "test-time augmentation",
    "mnist-best-cpu": f"{BUSY}; {FLOAT32}",
    "mnist-quick-avx2": "stem bias trained, narrower network, batches of 128, global max-pooling "
    "at the end",
}
"""Notes by result file: how its runs differ from the current recipe, and what else was running."""


def recipes_table() -> str:
    """Return accuracy, seconds and memory of every recipe that ``firstlight bench`` measured."""
    head = [
        *("processor", "n", "test accuracy, mean ± sd", "`fl.train`, median", "of it training"),
        *("peak memory", "compute rate in training", "matrix products in float32", "caveats"),
    ]
    lines = [row_of("recipe", head), row_of("---", ["---"] * len(head))]
    for path in sorted(RESULTS.glob("bench-*.json")):
        whole: dict[str, Any] = json.loads(path.read_text())
        name, runs = path.stem.removeprefix("bench-"), whole["runs"]
        caveats = "" if as_it_is(whole["recipe"]) else "an earlier form: "
        cells = [
            _processor(name, whole),
            str(whole["summary"]["n"]),
            accuracy(run["test_accuracy"] for run in runs),
            f"{whole['summary']['fit_seconds_median']:.1f} s",
            f"{statistics.median(run['train_seconds'] for run in runs):.1f} s",
            f"{whole['summary']['peak_memory_mb_max']:,.0f} MB",
            span([run["training_gflops"] for run in runs if "training_gflops" in run]),
            span([run["matmul_gflops_before"] for run in runs]),
            caveats + CAVEATS.get(name, ""),
        ]
        lines.append(
            row_of(f"[`{whole['recipe']['name']}`](../benchmarks/results/{path.name})", cells)
        )
    return "\n".join(lines)


def _processor(name: str, whole: dict[str, Any]) -> str:
    """Return the processor, threads and precision of a file's runs; older files lack the
    processor."""
    where, run = whole["environment"], whole["runs"][0]
    kind = where["accelerator"] or where["processor"]
    if name.endswith("-avx2"):
        kind += ", AVX2"
    else:
        kind += ", Zen 5" if "family 26" in kind else ", Zen 4"
    precision = "bfloat16" if "matmul_bf16_gflops_before" in run else "float32"
    threads = f"{where['threads']} thread{'' if where['threads'] == 1 else 's'}"
    return f"{kind.replace(' (family 26, model 2)', '')}, {threads}, {precision}"


def as_it_is(measured: dict[str, Any]) -> bool:
    """Whether a recipe is unchanged since it was measured."""
    name = measured["name"]
    now = load_recipe(name if name in recipe_names() else str(RECIPES / f"{name}.toml"))
    was = recipe_of(measured, source=name)
    parts = ("network", "augment", "optimizer", "schedule", "train")
    now = now.with_settings(["train.seed=0"])
    return all(getattr(was, part) == getattr(now, part) for part in parts)
