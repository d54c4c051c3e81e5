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
import re
import socket
import time
from collections.abc import MutableMapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from firstlight.memory import give_back
from firstlight.serve.aside import BEGUN, told
from firstlight.serve.counters import Counters
from firstlight.serve.encoding import unpacker
from firstlight.serve.limits import Limits, RefusedError, busy, too_large

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
SINGLE = (
    *(b"host", b"content-length", b"transfer-encoding", b"content-encoding"),
    *(b"authorization", b"origin"),
)
"""Fields of which two would leave it open which one counts."""
TARGET = "firstlight.target"
"""Where the connection leaves the request's target as it came, in the scope."""
LARGE, CALM_SECONDS = 1024**2, 1.0
"""A body of so many bytes; so long after it, freed memory goes back to the system."""
ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")
"""A target that names a host, as a proxy is asked."""
LINE_BYTES = len(b"  HTTP/1.1\r\n")
FIELD_BYTES = len(b": \r\n")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask."""

    token: str | None = None
    """Wanted from everyone, as ``Authorization: Bearer TOKEN``."""

    def check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise ``RefusedError`` for who may not."""
        method, path = scope["method"], scope["path"]
        if self.token is not None:
            # A token is sent by no browser on its own, so neither name nor origin matters.
            if (
                is_route(path)
                and path not in OPEN
                and not self._authorised(headers.get(b"authorization", b""))
            ):
                raise RefusedError(
                    status=401,
                    message="a token is wanted, as Authorization: Bearer TOKEN",
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
        if foreign and method not in ("GET", "HEAD"):
            raise RefusedError(status=403, message="requests from other sites are refused")

    def _authorised(self, header: bytes) -> bool:
        scheme, _, given = header.partition(b" ")
        assert self.token is not None
        right = hmac.compare_digest(given.strip(), self.token.encode())
        return right and scheme.lower() == b"bearer"


def is_route(path: str) -> bool:
    """Whether an address is one of the service's routes, or of its files otherwise."""
    return any(path == part or path.startswith(f"{part}/") for part in GUARDED)


@lru_cache(maxsize=64)
def is_own(host: str) -> bool:
    """Whether a Host field names this machine: by its name or any address, with or without port."""
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


class Guard:
    """ASGI middleware."""

    def __init__(self, app: Any, *, access: Access, limits: Limits, counters: Counters) -> None:
        self._app, self._access, self._limits, self._counters = app, access, limits, counters
        self._held, self._will_give_back = 0, False

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Check, count, and pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request = _Request(scope, receive, send, self)
        begun: list[Future[Any]] = []
        BEGUN.set(begun)
        try:
            async with asyncio.timeout(None) as request.clock:
                await request.answered_by(self._app, self._access)
        except RefusedError as refused:
            await request.refuse(refused)
        except TimeoutError:
            if not request.clock.expired():
                raise
            await request.refuse(request.late())
        except asyncio.CancelledError:
            await request.refuse(
                RefusedError(
                    status=503, message="the service is stopping", headers={"Retry-After": "5"}
                )
            )
        finally:
            self._let_go(request.taken, begun)
            route = getattr(request.scope.get("route"), "path", "other")
            self._counters.request(route, request.status, time.perf_counter() - started)

    def hold(self, count: int) -> None:
        """So many more bytes of bodies are in memory. Raises ``RefusedError`` beyond the room."""
        self._held += count
        if self._held > self._limits.all_bodies_bytes:
            raise busy()

    def _let_go(self, count: int, begun: list[Future[Any]]) -> None:
        """A request has ended, and holds nothing once the last work that it began has, too."""

        def free() -> None:
            self._held -= count
            if count >= LARGE and not self._will_give_back:
                self._will_give_back = True
                asyncio.get_running_loop().call_later(CALM_SECONDS, self._give_back)

        if begun and not begun[-1].done():
            loop = asyncio.get_running_loop()
            begun[-1].add_done_callback(lambda _: told(loop, free))
        else:
            free()

    def _give_back(self) -> None:
        self._will_give_back = False
        give_back()

    @property
    def limits(self) -> Limits:
        """Of one request, and of all."""
        return self._limits


class _Request:
    """One request on its way: how much of it came, how long it may take, what was answered."""

    clock: asyncio.Timeout

    def __init__(self, scope: Scope, receive: Any, send: Any, guard: Guard) -> None:
        # What HEAD asks for is made as for GET; the connection sends it without its body.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.scope: Scope = {**scope, "method": method}
        self._receive, self._send, self._guard = receive, send, guard
        self.taken, self.status = 0, 499
        headers = dict(scope["headers"])
        self._headers, self._came = headers, 0
        declared = headers.get(b"content-length", b"0")
        self._whole = declared == b"0" and b"transfer-encoding" not in headers

    async def answered_by(self, app: Any, access: Access) -> None:
        """Check the head, then let the application answer."""
        limits = self._guard.limits
        self._allow(limits.answer_seconds if self._whole else limits.body_seconds)
        check_head(self.scope, self._headers, limits)
        access.check(self.scope, self._headers)
        self._unpacker = unpacker(self._headers.get(b"content-encoding", b"").decode("latin-1"))
        await app(self.scope, self._bounded, self._sending)

    async def refuse(self, refused: RefusedError) -> None:
        """Answer with an error, as JSON; too late where another answer has begun."""
        if self.status != 499:
            raise refused
        body = error_body(refused)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **refused.headers,
        }
        if not self._whole:
            headers["Connection"] = "close"
        self.status = refused.status
        own = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send(
            {
                "type": "http.response.start",
                "status": refused.status,
                "headers": [*own, *CARRIED],
            }
        )
        await self._send({"type": "http.response.body", "body": body})

    def late(self) -> RefusedError:
        """The answer where time is up."""
        limits = self._guard.limits
        if self._whole:
            seconds = limits.answer_seconds
            return RefusedError(status=504, message=f"no answer within {seconds:g} s; try again")
        return RefusedError(
            status=408, message=f"the request did not come in within {limits.body_seconds:g} s"
        )

    def _allow(self, seconds: float) -> None:
        self.clock.reschedule(asyncio.get_running_loop().time() + seconds)

    async def _bounded(self) -> Any:
        """The next piece of the body, as long as the body keeps to its size."""
        message = await self._receive()
        limits = self._guard.limits
        piece, more = message.get("body", b""), message.get("more_body", False)
        self._came += len(piece)
        if self._came > limits.body_bytes:
            raise too_large(limits.body_bytes)
        if self._unpacker is not None and message["type"] == "http.request":
            piece = self._unpacker.unpack(piece, limits.body_bytes - self.taken, last=not more)
            message = {**message, "body": piece}
        self.taken += len(piece)
        self._guard.hold(len(piece))
        if not self._whole and not more:
            self._whole = True
            self._allow(limits.answer_seconds)
        return message

    async def _sending(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = dict(message.get("headers", []))
            if not self._whole:  # the connection ends with the answer, which a client must be told
                headers[b"connection"] = b"close"
            message["headers"] = [*headers.items(), *CARRIED]
            self.clock.reschedule(None)  # from here the connection sees that it is taken
        await self._send(message)


def check_head(scope: Scope, headers: dict[bytes, bytes], limits: Limits) -> None:
    """Raise ``RefusedError`` for a head that is too long, or that two readers would take for two
    different ones."""
    given = scope["headers"]
    if len(given) != len(headers):
        names = [name for name, _ in given]
        if any(names.count(name) > 1 for name in SINGLE):
            raise _unclear("a field came twice that may come once")
    line = len(scope["method"]) + len(scope.get(TARGET, scope["path"])) + LINE_BYTES
    fields = sum(len(name) + len(value) + FIELD_BYTES for name, value in given)
    if line + fields > limits.header_bytes:
        raise RefusedError(status=431, message="the head of the request is too long")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise _unclear("a length and an encoding came together")
    if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise _unclear("Transfer-Encoding: chunked alone is read")
    named = ABSOLUTE.match(scope.get(TARGET, b""))
    if named is not None and named[1].lower() not in (b"http", b"https"):
        raise _unclear("the target names no http address")
    has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
    if has_body and b"upgrade" in headers:
        raise _unclear("no other protocol is spoken; send the request without Upgrade")
    declared = headers.get(b"content-length", b"0")
    # The parser has seen to it that it is a number below 2**64.
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise too_large(limits.body_bytes)


def _unclear(message: str) -> RefusedError:
    return RefusedError(status=400, message=message, headers={"Connection": "close"})


def error_body(refused: RefusedError) -> bytes:
    """An error as JSON."""
    return json.dumps({"error": refused.message}, ensure_ascii=False).encode("utf-8", "replace")
