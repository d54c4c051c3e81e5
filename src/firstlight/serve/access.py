"""Access control.

By default the service listens only on this machine. A page of another site could still reach it
through the user's own browser in two ways, and both are blocked here: a name of that site that
resolves to this machine (DNS rebinding, visible in the Host header), and a form or script that
posts across sites (visible in the Origin header). Listed sites are allowed.
"""

import hmac
import ipaddress
import re
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from firstlight.serve.limits import RefusedError

Scope = MutableMapping[str, Any]

GUARDED = ("/api", "/v1", "/v2", "/metrics", "/openapi.json")
STUDIO = "/api/studio"
OPEN = ("/v2/health/live", "/v2/health/ready")
TARGET = "firstlight.target"
"""Key in the scope where the connection stores the request's target as it was sent."""
EXPOSED = b"Retry-After, Inference-Header-Content-Length"
PERMITTED = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Content-Encoding, Inference-Header-Content-Length",
    ),
    (b"access-control-max-age", b"600"),
]
"""Headers that a page of a listed site may send."""
ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")
"""A target with a host name, as in a request to a proxy."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Decides which requests are allowed."""

    token: str | None = None
    """Required from every client, as ``Authorization: Bearer TOKEN``."""
    look_only: str | None = None
    """Another token, whose clients may see everything but change nothing in the studio."""
    all_may_change: bool = False
    """Whether they may change it too."""
    origins: frozenset[str] = frozenset()
    """Other sites whose pages may send requests and read answers, such as ``https://a.example``."""
    framed: bool = False
    """Whether a page such as a notebook may show this page in a frame. Only with a token: a frame
    of any other page does not have it."""

    def __post_init__(self) -> None:
        if self.framed and self.token is None:
            raise ValueError("only a page that wants a token may be framed")

    def shared(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Return the headers that let a browser's page read the answer."""
        if not self.origins:
            return []
        vary = [(b"vary", b"Origin")]
        if not self._is_listed(headers):
            return vary
        origin = (b"access-control-allow-origin", headers[b"origin"])
        return [*vary, origin, (b"access-control-expose-headers", EXPOSED)]

    def asks_first(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether this is a CORS preflight request from a page of a listed site."""
        asks = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        return asks and self._is_listed(headers)

    def _is_listed(self, headers: dict[bytes, bytes]) -> bool:
        return headers.get(b"origin", b"").decode("latin-1") in self.origins

    def check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise ``RefusedError`` if the request is not allowed."""
        method, path = scope["method"], scope["path"]
        if self.token is not None:
            # Browsers never send a token on their own, so host and origin do not matter. A
            # preflight request has no token.
            free = path in OPEN or self.asks_first(scope, headers) or not is_route(path)
            given = headers.get(b"authorization", b"")
            looks = self.look_only is not None and _carries(given, self.look_only)
            if not free and looks and changes(method, path) and not self.all_may_change:
                raise RefusedError(
                    status=403, message="with this token you may look, but not train or change"
                )
            if not free and not looks and not _carries(given, self.token):
                raise RefusedError(
                    status=401,
                    message="a token is required: Authorization: Bearer TOKEN",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            return
        host = headers.get(b"host", b"").decode("latin-1")
        named = ABSOLUTE.match(scope.get(TARGET, b""))
        if not is_own(host) or (named is not None and not is_own(named[2].decode("latin-1"))):
            raise RefusedError(
                status=421, message="this service answers only under its own address or localhost"
            )
        origin = headers.get(b"origin")
        foreign = origin is not None and origin.decode("latin-1").partition("://")[2] != host
        if foreign and method not in ("GET", "HEAD") and not self._is_listed(headers):
            raise RefusedError(status=403, message="requests from other sites are refused")


def _carries(header: bytes, token: str) -> bool:
    scheme, _, given = header.partition(b" ")
    right = hmac.compare_digest(given.strip(), token.encode())
    return right and scheme.lower() == b"bearer"


def changes(method: str, path: str) -> bool:
    """Whether a request may write into the studio's folder or start work there."""
    inside = path == STUDIO or path.startswith(f"{STUDIO}/")
    if path == f"{STUDIO}/written":  # tells what a recipe comes to, and writes nothing
        return False
    return inside and method not in ("GET", "HEAD", "OPTIONS")


def is_route(path: str) -> bool:
    """Whether a path is one of the service's routes; otherwise it is one of its files."""
    return any(path == part or path.startswith(f"{part}/") for part in GUARDED)


def origin_of(text: str) -> str:
    """Return an origin as browsers send it. Raises ``ValueError`` for anything else, such as an
    address with a path, or a pattern."""
    parts = urlsplit(text)
    scheme, host, usual = parts.scheme, parts.hostname or "", {"http": 80, "https": 443}
    if not re.fullmatch(r"[a-z0-9.-]*[a-z0-9]|[0-9a-f:.]+", host) or scheme not in usual:
        raise ValueError(text)
    named = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, usual[scheme]) else f":{parts.port}"
    if parts.netloc.lower() not in (f"{named}{port}", f"{named}:{parts.port}") or parts.port == 0:
        raise ValueError(text)
    if text[len(scheme) :].lower() != f"://{parts.netloc}".lower():
        raise ValueError(text)
    return f"{scheme}://{named}{port}"


@lru_cache(maxsize=64)
def is_own(host: str) -> bool:
    """Whether a Host header names this machine: by its name or any address, with or without a
    port."""
    own = socket.gethostname().lower()
    if any(sign in host for sign in "@/?#\\"):
        return False
    try:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").rstrip(".") if parts.port != 0 else ""
        if name in ("localhost", own, own.partition(".")[0]) or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
