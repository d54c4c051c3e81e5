"""``firstlight track``"""

from typing import Annotated

import typer

from firstlight.cli.options import RunPath


def track(
    run: RunPath,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TRACKER",
            help="tensorboard, trackio, mlflow or wandb; else where it was copied. Repeatable.",
        ),
    ] = None,
) -> None:
    """Copy RUN to an experiment tracker, or what is new in it.

    train --track copies a run while it is trained. This copies one that exists, and after
    firstlight evaluate its test metrics and pictures.
    """
    from firstlight.runs.folder import open_run_folder
    from firstlight.verbs.track import track as copy

    names = copy(open_run_folder(run), to or (), typer.echo)
    typer.echo(f"copied to {', '.join(names)}")
