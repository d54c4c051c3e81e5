"""``firstlight runs``"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from firstlight.cli.options import Column, Json, percent, print_json, print_table, run_named
from firstlight.errors import DataError, UserError
from firstlight.runs.box import boxed_names
from firstlight.runs.folder import RunFolder, open_run_folder


def runs(
    where: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR|RUN",
            help="A folder of runs, or the runs to compare.",
            show_default="runs",
            callback=run_named,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List runs with their accuracy and time, or compare several.

    Of runs with several labels, the accuracy is the exact match.
    """
    paths = where or [Path("runs")]
    if len(paths) > 1:
        _compare(paths, json)
        return
    (root,) = paths
    if (root / "recipe.toml").is_file() or (not root.exists() and str(root) in boxed_names()):
        raise UserError(f"{root} is itself a run. See it with: firstlight report {root}")
    if not root.is_dir():
        if where is None and not root.exists():
            typer.echo("no runs yet; train one with: firstlight train mnist", err=json)
            if json:
                print_json([])
            return
        raise UserError(f"{root}: wanted a folder of runs; it does not exist")
    rows = [_row(RunFolder(p.parent)) for p in sorted(root.glob("*/recipe.toml"), key=_in_order)]
    if json:
        print_json(rows)
    elif rows:
        _print(rows)
    else:
        typer.echo(f"no runs in {root}; train one with: firstlight train mnist")


def _compare(paths: list[Path], json: bool) -> None:
    """Print the runs, and compare each with the best one on the same test images."""
    from firstlight.differences import differences
    from firstlight.verbs.compare import against_best, named

    folders = named([open_run_folder(path) for path in paths])
    best, others = against_best(folders)
    found = differences([folder.recipe() for folder in folders.values()])
    rows = [
        {
            **_row(folder),
            "against_best": asdict(others[name]) if name in others else None,
            "differences": {one.choice: one.values[at] for one in found},
        }
        for at, (name, folder) in enumerate(folders.items())
    ]
    if json:
        print_json(rows)
        return
    _print(rows)
    typer.echo()
    for name, pair in others.items():
        typer.echo(
            f"{pair.images:,} test images: only {best} is right on {pair.only_first}, only "
            f"{name} on {pair.only_second}; McNemar p = {pair.p:.2g}"
        )
    if not others:
        typer.echo(f"no other run was evaluated on the same test images as {best}")
    typer.echo(
        "\nall runs use the same recipe" if not found else "\ndifferences between the recipes:"
    )
    if found:
        headings = [Column("choice", whole=True), *(Column(name) for name in folders)]
        print_table(headings, [[one.choice, *one.short] for one in found])


def _print(rows: list[dict[str, Any]]) -> None:
    from firstlight.evaluate.task import ONE_LABEL, task_in

    columns = [Column("run"), Column("data"), Column("state")]
    words = {task_in(row).accuracy for row in rows if row["state"] != "damaged"}
    heading = f"test {' or '.join(sorted(words) or [ONE_LABEL.accuracy])}"
    columns += [Column(heading, right=True), Column("training", right=True)]
    lines = [
        [
            row["run"],
            row["data"],
            row["state"],
            "-" if row["accuracy"] is None else percent(row["accuracy"]),
            "-" if row["train_seconds"] is None else f"{row['train_seconds']:.1f} s",
        ]
        for row in rows
    ]
    print_table(columns, lines)


def _in_order(recipe: Path) -> tuple[str, int]:
    """Sort runs with the same name by number."""
    stem, _, number = recipe.parent.name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() else (recipe.parent.name, 0)


def _row(folder: RunFolder) -> dict[str, Any]:
    from firstlight.evaluate.label_metrics import SEVERAL
    from firstlight.evaluate.task import task_in

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
            described = folder.read_json("data.json")
            return {
                "run": str(folder),
                "data": str(described["name"]),
                "labels": SEVERAL if task_in(described).several else None,
                "state": state,
                "accuracy": accuracy,
                "train_seconds": seconds,
            }
    except DataError:
        unknown = dict.fromkeys(("labels", "accuracy", "train_seconds"))
        return {"run": str(folder), "data": "-", "state": "damaged", **unknown}
