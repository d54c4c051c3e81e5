"""Options that several verbs share, and the two ways to print."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Look here first for data set files."),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", envvar="FIRSTLIGHT_DEVICE", help="auto, cpu, cuda or mps."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]


def print_json(values: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False, default=str))


def percent(share: float) -> str:
    """0.9897 as ``98.97 %``."""
    return f"{100 * share:.2f} %"
