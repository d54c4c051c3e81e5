"""``firstlight serve``"""

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstlight.cli.options import DataDir, NetworkCodes, run_named
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

if TYPE_CHECKING:
    from firstlight.serve.access import Access
    from firstlight.serve.exported import Served
    from firstlight.serve.limits import Limits


def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folders, exported .onnx, or the bundled models mnist and cifar10 (default).",
            callback=run_named,
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            envvar="FIRSTLIGHT_TOKEN",
            help="The token that every request must have; 'new' creates one.",
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Listen on other addresses without a token.")
    ] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            "--cors",
            metavar="ORIGIN",
            help="Another site that may send requests, such as https://a.example. Repeatable.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", min=1, max=256, help="Processes; each has RUN in memory."
        ),
    ] = 1,
    browser: OpenPage = False,
    networks: NetworkCodes = None,
    data_dir: DataDir = None,
) -> None:
    """Serve runs: a page to try them and look inside, and an HTTP API."""
    loopback = is_loopback(host)
    if not loopback and token is None and not no_auth:
        raise UserError(
            f"--host {host} lets other machines connect. Give --token (or FIRSTLIGHT_TOKEN), "
            "such as --token new, or --no-auth if everyone who can reach it may use it"
        )
    made, token = token == "new", chosen_token(token)
    check_places(data_dir)

    from firstlight.runs.box import boxed_names
    from firstlight.serve.access import Access
    from firstlight.serve.limits import Limits
    from firstlight.serve.server import Server, listeners, run
    from firstlight.serve.service import named
    from firstlight.threads import usable_threads

    work = _Work(
        paths=runs or list(map(Path, boxed_names())),
        networks=networks or [],
        data_dir=data_dir,
        access=Access(token=token, origins=frozenset(map(_origin, cors or ()))),
        limits=Limits(),
        threads=max(1, usable_threads() // workers - 1),
    )
    names = ", ".join(named(work.models()))

    def listening(at: int) -> None:
        address, secret = shown_address(host, at), f"#token={token}" if token else ""
        # The user knows a token that they gave, and the output may be kept in a log.
        page = address + (secret if made else "")
        typer.echo(f"serving {names}\npage {page}\nstop with Ctrl-C")
        if browser:
            webbrowser.open(address + secret)

    with listeners(host, port) as sockets:
        if workers == 1:
            run(Server(work(), limits=work.limits, listening=listening), sockets)
        else:
            from firstlight.serve.workers import serve_together

            serve_together(work, work.limits, sockets, count=workers, listening=listening)
    typer.echo("stopped", err=True)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What a process serves. All values are plain, because they may be sent to other processes."""

    paths: Sequence[Path]
    networks: Sequence[str]
    data_dir: Path | None
    access: "Access"
    limits: "Limits"
    threads: int
    """Threads for one forward pass."""

    def models(self) -> "list[Served]":
        """Open the run folders and files. Raises ``UserError`` if one is neither."""
        from firstlight.layers.own_code import own_code
        from firstlight.serve.exported import open_served

        return open_served(self.paths, list(map(own_code, self.networks)))

    def __call__(self) -> Any:
        """Return the ASGI application, with the runs loaded. Raises ``UserError``."""
        from firstlight.serve.app import create_app
        from firstlight.serve.service import Service, predictors
        from firstlight.verbs.run_data import test_images_here

        service = Service(
            predictors(self.models(), self.limits),
            limits=self.limits,
            threads=self.threads,
            find=lambda one: test_images_here(one.described, str(one.path), self.data_dir),
        )
        return create_app(service, self.access)


def _origin(text: str) -> str:
    """Parse a site given with ``--cors``. Raises ``UserError`` if it is not valid."""
    from firstlight.serve.access import origin_of

    try:
        return origin_of(text)
    except ValueError as error:
        raise UserError(
            f"--cors {text}: wanted an origin (http:// or https://, a name and optionally a "
            "port), such as https://a.example or http://localhost:3000. Repeat --cors for each "
            "site"
        ) from error
