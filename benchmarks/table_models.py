"""The table of the models in the box, from their folders and result files."""

import json

from firstlight.runs.box import BOX, boxed_names
from table_cells import RESULTS, accuracy, row_of


def models_table() -> str:
    """Return each model's accuracy and size, beside other seeds of its recipe."""
    lines = [
        "| model | correct test images | same recipe, other seeds | size |",
        "|---|---|---|---|",
    ]
    for name in boxed_names():
        measured = json.loads((BOX / name / "measured.json").read_text(encoding="utf-8"))
        runs = json.loads((RESULTS / f"box-{name}-cpu.json").read_text(encoding="utf-8"))["runs"]
        size = (BOX / name / "model.safetensors").stat().st_size / 1e6
        cells = [
            f"{measured['correct']:,} of {measured['count']:,}",
            f"{accuracy(run['test_accuracy'] for run in runs)} (n = {len(runs)})",
            f"{size:.1f} MB",
        ]
        lines.append(row_of(f"[`{name}`](src/firstlight/box/{name}/README.md)", cells))
    return "\n".join(lines)
