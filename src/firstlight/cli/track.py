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
            help="tensorboard, trackio, mlflow or wandb; by default those used before. Repeatable.",
        ),
    ] = None,
) -> None:
    """Copy RUN, or what is new in it, to an experiment tracker.

    train --track copies a run while it is trained. This copies one that exists, and after
    firstlight evaluate its test metrics and pictures.
    """
    from firstlight.runs.folder import open_run_folder
    from firstlight.verbs.track import track as copy

    names = copy(open_run_folder(run), to or (), typer.echo)
    typer.echo(f"copied to {', '.join(names)}")
