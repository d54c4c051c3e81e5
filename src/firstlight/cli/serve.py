"""``firstlight serve``"""

import ipaddress
import secrets
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstlight.cli.options import DataDir, NetworkCodes, run_named
from firstlight.errors import UserError

if TYPE_CHECKING:
    from firstlight.data.dataset import Dataset
    from firstlight.serve.access import Access
    from firstlight.serve.exported import Served
    from firstlight.serve.limits import Limits
    from firstlight.serve.predictor import Predictor


def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folders, exported .onnx, or the bundled models mnist and cifar10 (default).",
            callback=run_named,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="NAME", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free port.")
    ] = 8000,
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
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
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
    made = token == "new"
    if made:
        token = secrets.token_urlsafe(24)
    check_token(token)

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
        address, secret = f"http://{shown_address(host)}:{at}/", f"#token={token}" if token else ""
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

        service = Service(
            predictors(self.models(), self.limits),
            limits=self.limits,
            threads=self.threads,
            find=lambda predictor: test_images(predictor, self.data_dir),
        )
        return create_app(service, self.access)


def test_images(predictor: "Predictor", data_dir: Path | None = None) -> "Dataset | None":
    """Return the test images of a served run; None if they are not on this machine."""
    from firstlight.verbs.run_data import described_test_data

    try:
        return described_test_data(predictor.described, str(predictor.path), data_dir)
    except UserError:
        return None


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


def check_token(token: str | None) -> None:
    """Raise ``UserError`` for a token that is too short or cannot be sent in a header."""
    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable()):
        raise UserError(
            "--token: wanted at least 8 plain characters, better 20; --token new makes one"
        )


def shown_address(host: str) -> str:
    """Return a host as it stands in an address that this machine's browser can open."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"[{shown}]" if ":" in shown else shown


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
