"""``firstlight runs``"""

from pathlib import Path
from typing import Annotated, Any

import typer

from firstlight.cli.options import Json, percent, print_json, print_table
from firstlight.errors import DataError


def runs(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs lie.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs with their state, accuracy and time."""
    from firstlight.runs.folder import RunFolder

    folders = [RunFolder(p.parent) for p in sorted(root.glob("*/recipe.toml"))]
    rows = [_row(folder) for folder in folders]
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"no runs in {root}; make one with: firstlight train mnist")
        return

    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "data", "state"):
        table.add_column(heading)
    for heading in ("test accuracy", "training"):
        table.add_column(heading, justify="right")
    for row in rows:
        accuracy, seconds = row["accuracy"], row["train_seconds"]
        table.add_row(
            row["run"],
            row["data"],
            row["state"],
            "-" if accuracy is None else percent(accuracy),
            "-" if seconds is None else f"{seconds:.1f} s",
        )
    print_table(table)


def _row(folder: Any) -> dict[str, Any]:
    evaluated = (folder.path / "metrics.json").is_file()
    try:
        summary = folder.read_json("summary.json") if folder.finished else {"train_seconds": None}
        return {
            "run": str(folder),
            "data": str(folder.read_json("data.json")["name"]),
            "state": "finished" if folder.finished else "stopped",
            "accuracy": folder.read_json("metrics.json")["accuracy"] if evaluated else None,
            "train_seconds": summary["train_seconds"],
        }
    except (DataError, KeyError, TypeError):
        unknown = dict.fromkeys(("accuracy", "train_seconds"))
        return {"run": str(folder), "data": "-", "state": "damaged", **unknown}
