"""``firstlight studio``"""

import secrets
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import DataDir
from firstlight.cli.pages import (
    Host,
    OpenPage,
    Port,
    check_places,
    chosen_token,
    is_loopback,
    shown_address,
)
from firstlight.errors import UserError


def studio(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="The working folder; all it writes goes there."),
    ] = Path(),
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            envvar="FIRSTLIGHT_TOKEN",
            help="A token for others, who may look; 'new' makes one.",
        ),
    ] = None,
    allow_training: Annotated[
        bool, typer.Option("--allow-training", help="Others may also train and change.")
    ] = False,
    browser: OpenPage = False,
    data_dir: DataDir = None,
) -> None:
    """Open the workshop: choose data, write networks, train and compare in a page."""
    if not is_loopback(host) and token is None:
        raise UserError(
            f"--host {host} lets other machines connect. Give --token (or FIRSTLIGHT_TOKEN), "
            "such as --token new"
        )
    if allow_training and token is None:
        raise UserError("--allow-training is for others, who need --token")
    token = chosen_token(token)
    check_places(data_dir)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Create it first, or leave FOLDER out")

    from firstlight.serve.access import Access
    from firstlight.serve.limits import Limits
    from firstlight.serve.server import Server, listeners, run
    from firstlight.studio.app import create_studio

    own = None if token is None else secrets.token_urlsafe(24)
    access = Access(token=own, look_only=token, all_may_change=allow_training)
    limits = Limits()

    def listening(at: int) -> None:
        address = shown_address(host, at)
        page = address if own is None else f"{address}#token={own}"
        typer.echo(f"working folder {folder.resolve()}\npage {page}")
        if token is not None:
            may = "look and train" if allow_training else "look, not train"
            typer.echo(f"page for others, who may {may}: {address}#token={token}")
        typer.echo("stop with Ctrl-C; trainings continue")
        if browser:
            webbrowser.open(page)

    app = create_studio(folder, access, limits, data_dir)
    with listeners(host, port) as sockets:
        run(Server(app, limits=limits, listening=listening), sockets)
    typer.echo("stopped", err=True)
