"""A run as displayed in a notebook cell."""

from typing import Any

from firstlight import cells
from firstlight.data.listing import counted
from firstlight.errors import UserError
from firstlight.evaluate.task import task_in
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_epochs


def run_cell(folder: RunFolder) -> str | None:
    """Return its figures and training curves as HTML; None if the folder cannot be read, so that
    the notebook shows the run's ``repr``."""
    try:
        recipe, data = folder.recipe(), folder.read_json("data.json")
        facts = {"recipe": recipe.name, "data": str(data["name"])}
        if not folder.finished:
            facts["state"] = "not finished: firstlight.resume takes it up"
            return cells.block(f"Run {folder.name}", cells.facts(facts))
        facts |= _results(folder.read_json("summary.json"))
        facts |= _tested(folder)
        epochs = read_epochs(folder)
    except (UserError, LookupError, TypeError, ValueError):
        return None
    return cells.block(
        f"Run {folder.name}",
        cells.facts({**facts, "folder": str(folder.path)}),
        *(_curves(epochs, column, name) for column, name in COLUMNS.items()),
    )


COLUMNS = {"loss": "loss", "accuracy": "accuracy"}
"""Columns of ``epochs.csv``, after ``train_`` and ``validation_``."""


def _results(summary: dict[str, Any]) -> dict[str, str]:
    seconds = float(summary["train_seconds"])
    return {
        "trained": f"{counted(summary['epochs'], 'epoch')}, {seconds:,.1f} s",
        "parameters": f"{summary['parameters']:,}",
    }


def _tested(folder: RunFolder) -> dict[str, str]:
    """Return the test accuracy if the run was evaluated."""
    if not (folder.path / "metrics.json").is_file():
        return {"test accuracy": "not measured yet: run.evaluate()"}
    metrics = folder.read_json("metrics.json")
    low, high = (100 * end for end in metrics["accuracy_interval"])
    accuracy = 100 * metrics["accuracy"]
    name = "exact match" if task_in(metrics).several else "test accuracy"
    return {name: f"{accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"}


def _curves(epochs: list[dict[str, float | None]], column: str, name: str) -> str:
    """Plot training and, if present, validation over the epochs."""
    series = {
        f"{part} {name}": [row.get(f"{key}_{column}") for row in epochs]
        for part, key in (("training", "train"), ("validation", "validation"))
    }
    if len(epochs) < 2:
        return ""  # a single point is not a curve
    there = {name: values for name, values in series.items() if any(v is not None for v in values)}
    return cells.curves(there)
