"""The table of the models in the box, from their folders."""

import json
from pathlib import Path

from table_cells import RESULTS, accuracy, row_of

BOX = Path(__file__).resolve().parent.parent / "src" / "firstlight" / "box"
SEEDS = {"mnist": "bench-mnist-best-cpu.json", "cifar10": "box-cifar10-cpu.json"}


def models_table() -> str:
    """What each reaches, beside other seeds of its recipe, and how large it is."""
    lines = [
        "| model | test images right | the same recipe, other seeds | size |",
        "|---|---|---|---|",
    ]
    for name, seeds in SEEDS.items():
        measured = json.loads((BOX / name / "measured.json").read_text(encoding="utf-8"))
        runs = json.loads((RESULTS / seeds).read_text(encoding="utf-8"))["runs"]
        size = (BOX / name / "model.safetensors").stat().st_size / 1e6
        cells = [
            f"{measured['correct']:,} of {measured['count']:,}",
            f"{accuracy(run['test_accuracy'] for run in runs)} (n = {len(runs)})",
            f"{size:.1f} MB",
        ]
        lines.append(row_of(f"[`{name}`](src/firstlight/box/{name}/README.md)", cells))
    return "\n".join(lines)
