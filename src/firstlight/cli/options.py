"""Options that several verbs share, and functions that print."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from firstlight.errors import UserError
from firstlight.plain import write_json
from firstlight.terminal import console, plain
from firstlight.untrusted import json_safe, one_line

if TYPE_CHECKING:
    from firstlight.layers.own_code import OwnCode
    from firstlight.recipe import Recipe, Setting
    from firstlight.verbs.plan import Asked
    from firstlight.verbs.run_data import DataRequest

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        rich_help_panel="Data",
        metavar="DIR",
        help="Look here first for data set files.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", envvar="FIRSTLIGHT_DEVICE", help="auto, cpu, cuda or mps."
    ),
]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside", rich_help_panel="Data", help="Accept files outside the CSV's folder."
    ),
]
PixelRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--range",
        rich_help_panel="Data",
        metavar="LOW HIGH",
        help="Values of black and white in arrays, such as 0 16.",
        show_default=False,
    ),
]
DataName = Annotated[str, typer.Argument(metavar="DATA", help="A data set.", show_default=False)]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        rich_help_panel="Recipe and network",
        metavar="NAME|FILE",
        help="A named recipe or a TOML file; by default DATA's own.",
    ),
]
NetworkCode = Annotated[
    str | None,
    typer.Option(
        "--network",
        rich_help_panel="Recipe and network",
        metavar="FILE.py:FUNCTION",
        help="Build the network with this function; the file is run.",
    ),
]
NetworkCodes = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="FILE.py:FUNCTION",
        help="Build a run's network with this function; the file is run. Repeatable.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel="Recipe and network",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe. Repeatable.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="WHERE",
        help="What workers share: FILE.db, FILE.journal, postgresql://USER@HOST/NAME.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_Paths = TypeVar("_Paths", Path | None, list[Path] | None)


def run_named(context: typer.Context, given: _Paths) -> _Paths:
    """Convert the given paths to run folders; ``hf:OWNER/NAME`` is downloaded.

    Raises ``UserError`` for a pretrained backbone, and the errors of ``hub_run``.
    """
    if context.resilient_parsing:  # shell completion
        return given
    for path in given if isinstance(given, list) else [given]:
        if path is not None and not os.path.lexists(path):
            from firstlight.backbones import refuse_backbone

            refuse_backbone(path)
    if isinstance(given, list):
        return [run_here(path) for path in given]
    return None if given is None else run_here(given)


def recipe_or_run(context: typer.Context, given: str) -> str:
    """Like ``run_named``, for an argument that may also be a recipe."""
    return given if context.resilient_parsing else str(run_here(Path(given)))


def run_here(path: Path) -> Path:
    """Return the folder of a run on the hub, and any other path unchanged. Prints the hub's
    notes."""
    from firstlight.hub.word import is_hub

    if not is_hub(path) or os.path.lexists(path):
        return path
    from firstlight.runs.from_hub import hub_run

    found = hub_run(path)
    for note in found.notes or (str(found.word),):
        typer.echo(note, err=True)
    return found.folder


ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run folder, hf:OWNER/NAME, or an exported .onnx.",
        show_default=False,
        callback=run_named,
    ),
]
OtherData = Annotated[
    str | None,
    typer.Argument(metavar="[DATA]", help="Where the data is now.", show_default=False),
]
RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run folder, or hf:OWNER/NAME.",
        show_default=False,
        callback=run_named,
    ),
]


def code_named(network: str | None) -> "OwnCode | None":
    """Return the code that ``--network`` names, by running its file. Raises ``UserError`` if it
    names none."""
    from firstlight.layers.own_code import own_code

    return None if network is None else own_code(network)


def asked_for(
    request: "DataRequest",
    recipe: str | None,
    settings: list[str] | None,
    device: str,
    network: str | None,
) -> "Asked":
    """Collect the options that ``bench`` and ``lr-find`` share, and print warnings about the data.
    Raises ``UserError`` for an unknown name."""
    from firstlight.verbs.plan import Asked

    request.check_name()
    asked = Asked(
        recipe=named_recipe(recipe, settings or []) if recipe else None,
        parts=network_part(network),
        settings=settings or [],
        device=device,
    )
    tell_warnings(request)
    return asked


def network_part(network: str | None) -> "dict[str, OwnCode]":
    """Return the recipe's network that ``--network`` names, by running its file."""
    code = code_named(network)
    return {} if code is None else {"network": code}


def tell_warnings(request: "DataRequest") -> None:
    """Print on standard error which data were left out or are wrong."""
    for warning in request.load().train.warnings:
        typer.echo(warning, err=True)


def named_recipe(
    name_or_file: str,
    changes: "Sequence[str | Setting]" = (),
    start: Path | None = None,
    budget: float | None = None,
) -> "Recipe":
    """Return the recipe. For a recipe file, print which of its keys have no effect given the other
    options."""
    from firstlight.backbones import is_backbone
    from firstlight.recipe import load_recipe, recipe_names

    if is_backbone(name_or_file):
        raise UserError(
            f"--recipe {name_or_file}: this is a pretrained backbone, not a recipe. To start "
            f"from it: firstlight train DATA --from {name_or_file}"
        )
    recipe = load_recipe(name_or_file)
    if name_or_file not in recipe_names():
        for words in _without_effect(recipe, changes, start, budget):
            typer.echo(f"{name_or_file}: these have no effect: {words}", err=True)
    return recipe


def _without_effect(
    recipe: "Recipe",
    changes: "Sequence[str | Setting]",
    start: Path | None,
    budget: float | None,
) -> list[str]:
    from firstlight.reads import idle_changes, unread_changes, why_unread
    from firstlight.recipe import setting_key

    if start is not None:
        recipe = replace(recipe, train=replace(recipe.train, start_from=str(start)))
    try:
        recipe = recipe.with_settings(changes)
    except UserError:
        return []  # the plan reports it
    said = {setting_key(one) for one in changes}
    found = [why_unread(recipe, [key]) for key in unread_changes(recipe) if key not in said]
    keys = [key for key in idle_changes(recipe) if key not in said]
    if keys and budget is None:
        do = "does" if len(keys) == 1 else "do"
        found.append(
            f"{', '.join(keys)} {do} nothing, because train.epochs is 0: only the last layer is "
            "fitted"
        )
    return found


def print_json(values: Any) -> None:
    """Print one JSON document on standard output."""
    ascii_only = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    typer.echo(json_safe(write_json(values, indent=2, ascii_only=ascii_only)))


def print_exact(text: str) -> None:
    """Print data for programs exactly; make them safe if standard output is a terminal."""
    out = plain(sys.stdout)
    if out.isatty() or not hasattr(out, "buffer"):
        typer.echo(text, nl=False)
        return
    out.flush()
    out.buffer.write(text.encode("utf-8", "surrogateescape"))
    out.buffer.flush()


class Column(NamedTuple):
    """A column of a printed table."""

    heading: str
    right: bool = False
    """Align numbers to the right; they are never wrapped."""
    whole: bool = False
    """Never wrapped, although aligned to the left."""
    spare: bool = False
    """Left out if the terminal is too narrow for readable lines."""


_READABLE = 24
"""Fewest characters for a column of words."""


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as wide as the terminal; into a file or pipe, one line per row at full width.

    Cells are printed literally, including escapes and square brackets. A row may have fewer cells
    than there are columns.
    """
    from rich.table import Table
    from rich.text import Text

    screen = console()
    if not screen.is_terminal:
        screen.width = 10_000
    rows = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    if _least_width(columns, rows) > screen.width:
        kept = [at for at, column in enumerate(columns) if not column.spare]
        columns = [columns[at] for at in kept]
        rows = [[row[at] for at in kept] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=column.right or column.whole,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(one_line(text)) for text in row))
    screen.print(table)


def _least_width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Return the fewest characters in which the table, with words wrapped, is readable."""
    total = 0
    for at, column in enumerate(columns):
        wide = max(len(column.heading), *(len(row[at]) for row in rows), 0)
        total += wide if column.right or column.whole else min(wide, _READABLE)
    return total + 2 * (len(columns) - 1)


def percent(share: float) -> str:
    """Format 0.9897 as ``98.97 %``."""
    return f"{100 * share:.2f} %"


def duration(text: str) -> float:
    """Convert ``90``, ``90s``, ``1.5m`` or ``1h`` to seconds. Raises ``UserError`` for anything
    else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise UserError(f"--budget: wanted a time above zero, such as 90s, 3m or 1h, got {text!r}")
    return seconds
