"""``firstlight network``"""

from typing import Annotated

import typer

from firstlight.cli.options import (
    Column,
    DataDir,
    Json,
    Settings,
    print_json,
    print_table,
    recipe_or_run,
)

SPARE = ("name", "not trained", "receptive field")
"""Columns that a narrow terminal leaves out."""


def network(
    where: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|RUN|FILE|BACKBONE",
            help="A named recipe or a TOML file, a run, its model.safetensors, or a backbone.",
            show_default=False,
            callback=recipe_or_run,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="DATA", help="The data whose images the network is to take."
        ),
    ] = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List a network's layers: shapes, parameters, multiply-adds, receptive fields."""
    from firstlight.backbones import is_backbone
    from firstlight.layers.summary import HEADINGS, RIGHT
    from firstlight.verbs.network import network_summary
    from firstlight.verbs.run_data import DataRequest

    request = None
    if data is not None:
        request = DataRequest(name=data, data_dir=data_dir)
        request.check_name()
    summary = network_summary(where, request, settings or [])
    if json:
        print_json(summary.to_json())
        return
    columns = [
        Column(name, right=name in RIGHT, whole=name in ("layer", "name"), spare=name in SPARE)
        for name in HEADINGS
    ]
    print_table(columns, [row.cells() for row in summary.rows])
    typer.echo("\n" + "\n".join(summary.totals()))
    if not is_backbone(where):
        typer.echo("to change a layer, give its number: --set network.N.CHOICE=VALUE")
