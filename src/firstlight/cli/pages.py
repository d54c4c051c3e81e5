"""What ``serve`` and ``studio`` have in common: the address, the token, the data of their pages."""

import ipaddress
import secrets
from pathlib import Path
from typing import Annotated

import typer

from firstlight.errors import UserError

Host = Annotated[str, typer.Option("--host", metavar="NAME", help="The address to listen on.")]
Port = Annotated[
    int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free port.")
]
OpenPage = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def chosen_token(token: str | None) -> str | None:
    """Return the token, a new one for ``new``. Raises ``UserError`` for one that is too short or
    cannot be sent in a header."""
    if token == "new":
        return secrets.token_urlsafe(24)
    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable()):
        raise UserError(
            "--token: wanted at least 8 plain characters, better 20; --token new makes one"
        )
    return token


def shown_address(host: str, port: int) -> str:
    """Return the address of the page for a browser on this machine."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_places(data_dir: Path | None) -> None:
    """Raise ``DataError`` if a folder that was named for data sets does not exist: a page would
    show no test images, and not say why."""
    from firstlight.data.load import places

    places(data_dir)
