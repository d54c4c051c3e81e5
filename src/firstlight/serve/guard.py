"""Who may ask, how much may come, and what every answer carries: around all routes.

The service listens on this machine alone unless it is told otherwise. Two ways remain in which
a page of another site could reach it through the user's own browser, and both are closed here:
a name of that site made to point at this machine (DNS rebinding; the Host header tells), and
a form or script that posts across sites (the Origin header tells).
"""

import asyncio
import hmac
import ipaddress
import json
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from firstlight.serve.counters import Counters
from firstlight.serve.limits import Limits, RefusedError

Scope = MutableMapping[str, Any]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
CARRIED = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
GUARDED = ("/api", "/v2", "/metrics", "/openapi.json")
OPEN = ("/v2/health/live", "/v2/health/ready")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask."""

    token: str | None = None
    """Wanted from everyone, as ``Authorization: Bearer TOKEN``."""

    @cached_property
    def names(self) -> set[str]:
        """Names by which this machine may be called; an address is always its own."""
        own = socket.gethostname().lower()
        return {"localhost", own, own.partition(".")[0]}

    def check(self, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        """Raise ``RefusedError`` for who may not."""
        if self.token is not None:
            # A token is sent by no browser on its own, so neither name nor origin matters.
            guarded = path not in OPEN and any(
                path == part or path.startswith(f"{part}/") for part in GUARDED
            )
            if guarded and not self._authorised(headers.get(b"authorization", b"")):
                raise RefusedError(
                    status=401,
                    message="a token is wanted, as Authorization: Bearer TOKEN",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            return
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._own(host):
            raise RefusedError(
                status=421, message="this service answers only under its own address or localhost"
            )
        origin = headers.get(b"origin")
        foreign = origin is not None and origin.decode("latin-1").partition("://")[2] != host
        if foreign and method not in ("GET", "HEAD"):
            raise RefusedError(status=403, message="requests from other sites are refused")

    def _authorised(self, header: bytes) -> bool:
        scheme, _, given = header.partition(b" ")
        assert self.token is not None
        right = hmac.compare_digest(given.strip(), self.token.encode())
        return right and scheme.lower() == b"bearer"

    def _own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self.names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Guard:
    """ASGI middleware."""

    def __init__(self, app: Any, *, access: Access, limits: Limits, counters: Counters) -> None:
        self._app, self._access, self._limits, self._counters = app, access, limits, counters

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Check, count, and pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *CARRIED]
            await send(message)

        try:
            headers = dict(scope["headers"])
            self._access.check(scope["method"], scope["path"], headers)
            declared = headers.get(b"content-length", b"0")
            if declared.isdigit() and int(declared) > self._limits.body_bytes:
                raise self._too_much()
            await self._app(scope, self._bounded(receive), sending)
        except RefusedError as refused:
            await refuse(refused, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._counters.request(route, status, time.perf_counter() - started)

    def _bounded(self, receive: Any) -> Any:
        """``receive``, as long as the body keeps to its size and its time."""
        until = asyncio.get_running_loop().time() + self._limits.body_seconds
        taken, whole = 0, False

        async def receiving() -> Any:
            nonlocal taken, whole
            if whole:  # from now on it only tells when the client goes away
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                seconds = self._limits.body_seconds
                raise RefusedError(
                    status=408,
                    message=f"the request did not come in within {seconds:g} s",
                    headers={"Connection": "close"},
                ) from error
            taken += len(message.get("body", b""))
            if taken > self._limits.body_bytes:
                raise self._too_much()
            whole = not message.get("more_body", False)
            return message

        return receiving

    def _too_much(self) -> RefusedError:
        return RefusedError(
            status=413,
            message=f"more than {self._limits.body_bytes // 1024**2} MiB in one request",
            headers={"Connection": "close"},
        )


async def refuse(refused: RefusedError, send: Any) -> None:
    """Answer with an error, as JSON."""
    body = json.dumps({"error": refused.message}, ensure_ascii=False).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **refused.headers,
    }
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
