"""``firstlight import``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import DataDir, Json, print_json


def import_keras(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL.keras", help="A tutorial's network.", show_default=False),
    ],
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="What it was trained on; else by its images' size."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run folder.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a run of a tutorial network trained in Keras; nothing in the file is executed."""
    from firstlight.verbs.import_keras import import_keras
    from firstlight.verbs.run_data import DataRequest

    request = None if data is None else DataRequest(name=data, data_dir=data_dir)
    folder = import_keras(model, request, data_dir=data_dir, out=out)
    if json:
        print_json({"run": str(folder), **folder.read_json("summary.json")})
    else:
        parameters = folder.read_json("summary.json")["parameters"]
        typer.echo(f"{parameters:,} parameters\nrun {folder}")
