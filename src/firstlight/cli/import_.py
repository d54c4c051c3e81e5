"""``firstlight import``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import DataDir, Json, print_json


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .keras file.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="DATA", help="What it was trained on, unless MNIST or CIFAR-10."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run folder to make.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Import a network trained with Keras. Nothing in FILE is executed."""
    from firstlight.verbs.import_keras import import_keras

    folder = import_keras(file, data=data, out=out, data_dir=data_dir)
    values = folder.read_json("summary.json")
    if json:
        print_json({"run": str(folder), **values})
        return
    scaled = (
        "" if values["imported_from"]["scales"] else ", assuming it was trained on pixels / 255"
    )
    typer.echo(
        f"{values['parameters']:,} parameters for {folder.read_json('data.json')['name']}{scaled}\n"
        f"run {folder}\nnext: firstlight evaluate {folder}"
    )
