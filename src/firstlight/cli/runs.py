"""``firstlight runs``"""

from pathlib import Path
from typing import Annotated, Any

import typer

from firstlight.cli.options import Json, percent, print_json, print_table
from firstlight.errors import DataError, UserError


def runs(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs lie.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs with their state, accuracy and time."""
    from firstlight.runs.folder import RunFolder

    if not root.is_dir():
        if root == Path("runs") and not root.exists():
            typer.echo("no runs yet; make one with: firstlight train mnist", err=json)
            if json:
                print_json([])
            return
        raise UserError(f"{root}: wanted a folder with runs in it, there is none")
    if (root / "recipe.toml").is_file():
        raise UserError(f"{root} is a run itself; see: firstlight report {root}")
    folders = [RunFolder(p.parent) for p in sorted(root.glob("*/recipe.toml"), key=_in_order)]
    rows = [_row(folder) for folder in folders]
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"no runs in {root}; make one with: firstlight train mnist")
        return

    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for heading in ("data", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("test accuracy", "training"):
        table.add_column(heading, justify="right", no_wrap=True)
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


def _in_order(recipe: Path) -> tuple[str, int]:
    """Runs of one name by their number."""
    stem, _, number = recipe.parent.name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() else (recipe.parent.name, 0)


def _row(folder: Any) -> dict[str, Any]:
    evaluated = (folder.path / "metrics.json").is_file()
    state = "finished" if folder.finished else "training" if folder.in_use() else "stopped"
    try:
        with folder.trusted():
            accuracy = float(folder.read_json("metrics.json")["accuracy"]) if evaluated else None
            seconds = (
                float(folder.read_json("summary.json")["train_seconds"])
                if folder.finished
                else None
            )
            return {
                "run": str(folder),
                "data": str(folder.read_json("data.json")["name"]),
                "state": state,
                "accuracy": accuracy,
                "train_seconds": seconds,
            }
    except DataError:
        unknown = dict.fromkeys(("accuracy", "train_seconds"))
        return {"run": str(folder), "data": "-", "state": "damaged", **unknown}
