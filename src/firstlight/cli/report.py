"""``firstlight report``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import DataDir, Json, NetworkCodes, print_json, run_named
from firstlight.errors import UserError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="One run, and where its data is now; or several runs to compare.",
            callback=run_named,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="The comparison page; by default comparison.html."
        ),
    ] = None,
    networks: NetworkCodes = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write report.html for a run, or compare several runs on one page."""
    from firstlight.layers.own_code import own_code
    from firstlight.runs.folder import open_run_folders
    from firstlight.verbs.compare import compare
    from firstlight.verbs.report import report as report_run

    data = None
    if len(runs) == 2 and _is_data(runs[1]):
        data = runs.pop()
    folders = open_run_folders(runs, list(map(own_code, networks or [])))
    if len(folders) == 1:
        if out is not None:
            raise UserError(
                "--out goes with several runs; the report of a single run is in its folder"
            )
        page = report_run(folders[0], data_dir=data_dir, data=data, warn=_warn)
    else:
        page = compare(folders, out or Path("comparison.html"))
    if json:
        print_json({"report": str(page)})
    else:
        typer.echo(f"report {page}")


def _is_data(path: Path) -> bool:
    """Whether a second path is data rather than another run."""
    from firstlight.data.catalog import CATALOG
    from firstlight.runs.box import boxed_names

    if not path.exists():
        return str(path) in CATALOG and str(path) not in boxed_names()
    return not (path / "recipe.toml").is_file()


def _warn(missing: str) -> None:
    typer.echo(f"figures that need the images are left out: {missing}", err=True)
