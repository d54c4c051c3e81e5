"""Middleware around all routes: limits on requests, and headers of every answer."""

import asyncio
import json
import time
from concurrent.futures import Future
from typing import Any

from firstlight.serve.access import ABSOLUTE, PERMITTED, TARGET, Access, Scope
from firstlight.serve.aside import BEGUN, told
from firstlight.serve.counters import Counters
from firstlight.serve.encoding import unpacker
from firstlight.serve.limits import Limits, RefusedError, busy, too_large

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
UNFRAMED = f"{POLICY}; frame-ancestors 'none'"
CARRIED = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
SINGLE = (
    *(b"host", b"content-length", b"transfer-encoding", b"content-encoding"),
    *(b"authorization", b"origin"),
)
"""Headers that must not appear twice, because it would be unclear which one counts."""
LINE_BYTES = len(b"  HTTP/1.1\r\n")
FIELD_BYTES = len(b": \r\n")


class Guard:
    """ASGI middleware."""

    def __init__(self, app: Any, *, access: Access, limits: Limits, counters: Counters) -> None:
        self._app, self._access, self._limits, self._counters = app, access, limits, counters
        self._held = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Check and count the request, and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request = _Request(scope, receive, send, self, self._access)
        begun: list[Future[Any]] = []
        BEGUN.set(begun)
        try:
            async with asyncio.timeout(None) as request.clock:
                await request.answered_by(self._app)
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
        """Reserve ``count`` bytes for bodies in memory. Raises ``RefusedError`` if there is no
        room."""
        self._held += count
        if self._held > self._limits.all_bodies_bytes:
            raise busy()

    def _let_go(self, count: int, begun: list[Future[Any]]) -> None:
        """Release a request's bytes once it has ended and its last background work is done."""

        def free() -> None:
            self._held -= count

        if begun and not begun[-1].done():
            loop = asyncio.get_running_loop()
            begun[-1].add_done_callback(lambda _: told(loop, free))
        else:
            free()

    @property
    def limits(self) -> Limits:
        """Limits per request and in total."""
        return self._limits


class _Request:
    """One request: how much of it arrived, its time limit, and whether it was answered."""

    clock: asyncio.Timeout

    def __init__(self, scope: Scope, receive: Any, send: Any, guard: Guard, access: Access) -> None:
        # HEAD is answered like GET; the connection leaves out the body.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.scope: Scope = {**scope, "method": method}
        self._receive, self._send, self._guard = receive, send, guard
        self.taken, self.status = 0, 499
        headers = dict(scope["headers"])
        self._headers, self._came = headers, 0
        policy = (b"content-security-policy", (POLICY if access.framed else UNFRAMED).encode())
        self._access, self._carried = access, [policy, *CARRIED, *access.shared(headers)]
        declared = headers.get(b"content-length", b"0")
        self._whole = declared == b"0" and b"transfer-encoding" not in headers

    async def answered_by(self, app: Any) -> None:
        """Check the headers, then let the application answer."""
        limits = self._guard.limits
        self._allow(limits.answer_seconds if self._whole else limits.body_seconds)
        check_head(self.scope, self._headers, limits)
        self._access.check(self.scope, self._headers)
        if self._access.asks_first(self.scope, self._headers):
            await self._permit()
            return
        self._unpacker = unpacker(self._headers.get(b"content-encoding", b"").decode("latin-1"))
        await app(self.scope, self._bounded, self._sending)

    async def refuse(self, refused: RefusedError) -> None:
        """Answer with an error as JSON, unless another answer has begun."""
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
                "headers": [*own, *self._carried],
            }
        )
        await self._send({"type": "http.response.body", "body": body})

    async def _permit(self) -> None:
        """Answer a CORS preflight request. Some browsers send another one for addresses of this
        machine or its network."""
        private = [(b"access-control-allow-private-network", b"true")]
        asked = b"access-control-request-private-network" in self._headers
        headers = [*PERMITTED, *(private if asked else [])]
        await self._sending({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    def late(self) -> RefusedError:
        """The answer when the time limit is exceeded."""
        limits = self._guard.limits
        if self._whole:
            seconds = limits.answer_seconds
            return RefusedError(status=504, message=f"no answer within {seconds:g} s; try again")
        return RefusedError(
            status=408, message=f"the request did not arrive within {limits.body_seconds:g} s"
        )

    def _allow(self, seconds: float) -> None:
        self.clock.reschedule(asyncio.get_running_loop().time() + seconds)

    async def _bounded(self) -> Any:
        """Return the next chunk of the body, while the body stays within its limit."""
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

    async def _sending(self, message: Scope) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = dict(message.get("headers", []))
            if not self._whole:  # the rest is not read; tell the client
                headers[b"connection"] = b"close"
            message["headers"] = [*headers.items(), *self._carried]
            self.clock.reschedule(None)  # the connection watches the client from here
        await self._send(message)


def check_head(scope: Scope, headers: dict[bytes, bytes], limits: Limits) -> None:
    """Raise ``RefusedError`` for headers that are too long, or that two parsers could read
    differently."""
    given = scope["headers"]
    if len(given) != len(headers):
        names = [name for name, _ in given]
        if any(names.count(name) > 1 for name in SINGLE):
            raise _unclear("a header field that may occur only once came twice")
    line = len(scope["method"]) + len(scope.get(TARGET, scope["path"])) + LINE_BYTES
    fields = sum(len(name) + len(value) + FIELD_BYTES for name, value in given)
    if line + fields > limits.header_bytes:
        raise RefusedError(status=431, message="the request header is too long")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise _unclear("Content-Length and Transfer-Encoding came together")
    if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise _unclear("Transfer-Encoding: only chunked is supported")
    named = ABSOLUTE.match(scope.get(TARGET, b""))
    if named is not None and named[1].lower() not in (b"http", b"https"):
        raise _unclear("the target is not an http address")
    has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
    if has_body and b"upgrade" in headers:
        raise _unclear("other protocols are not supported; send the request without Upgrade")
    declared = headers.get(b"content-length", b"0")
    # The parser guarantees a number below 2**64.
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise too_large(limits.body_bytes)


def _unclear(message: str) -> RefusedError:
    return RefusedError(status=400, message=message, headers={"Connection": "close"})


def error_body(refused: RefusedError) -> bytes:
    """Return an error as JSON."""
    return json.dumps({"error": refused.message}, ensure_ascii=False).encode("utf-8", "replace")
