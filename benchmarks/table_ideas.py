"""The table of the runs that docs/ideas.md shows."""

import json
from typing import Any

from table_cells import RESULTS, row_of

TITLES = {
    "cifar10-tutorial": "CIFAR-10, the tutorial's network",
    "cifar10-tutorial-augmented": "the same, augmented",
    "cifar10-tutorial-dropout": "the same, with dropout",
    "mnist-tutorial": "MNIST, the tutorial's network, Adam",
    "mnist-tutorial-0.003": "the same, gradient descent, rate 0.003",
    "mnist-tutorial-0.1": "the same, rate 0.1",
    "mnist-tutorial-1": "the same, rate 1",
}


def ideas_table() -> str:
    """Return how each run ended, and how long all took."""
    whole: dict[str, Any] = json.loads((RESULTS / "ideas.json").read_text())
    lines = [
        "| run | epochs | training loss | validation loss | lowest validation loss "
        "| validation accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for run in whole["runs"]:
        if run["name"] in TITLES:
            lowest = f"{run['best_validation_loss']:.2f}, epoch {run['best_epoch']}"
            cells = [
                str(run["epochs"]),
                f"{run['training_loss']:.2f}",
                f"{run['validation_loss']:.2f}",
                lowest,
                f"{100 * run['validation_accuracy']:.1f} %",
            ]
            lines.append(row_of(TITLES[run["name"]], cells))
    swept = [run for run in whole["runs"] if run["name"] not in TITLES]
    minutes = sum(run["processor_seconds"] for run in whole["runs"]) / 60
    lines += [
        "",
        f"These and the {len(swept)} runs of two epochs with and without batch norm took "
        f"{minutes:.1f} minutes of processor time: one thread of {whole['processor']}, shared "
        f"with other work; torch {whole['torch']}. "
        "Every run: [result file](../benchmarks/results/ideas.json). "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)
