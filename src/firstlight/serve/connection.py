"""One connection: uvicorn's protocol, stricter with slow clients and more careful to deliver
answers.

A client may send its headers byte by byte or never, read no answer, send endless data that is
neither headers nor body, or only open connections. None of these may hold a connection, memory or
other clients forever. A client that closes its side after a whole request, sends garbage after one,
or is refused in the middle of its upload still gets its answers, each for its own request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from firstlight.serve.access import ABSOLUTE, TARGET
from firstlight.serve.guard import error_body
from firstlight.serve.limits import Limits, RefusedError, busy

READ_BYTES = 256 * 1024
"""Most bytes that asyncio reads at once."""
PIPELINED = 64
"""Most pipelined requests that may wait on one connection."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. The server sets ``limits``."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """If there are too many connections, close the one that has been idle longest."""
        now = self.loop.time()
        self._real, self._ending = transport, _Ending(transport, self)
        super().connection_made(self._ending)  # type: ignore[arg-type]
        self._running, self._idle_since = False, now  # whether an answer is being computed
        self._malformed = ""  # why no more input is read
        self._head_since: float | None = now
        self._unaccounted = 0  # bytes since the last that were body or ended the headers
        self._ended: float | None = None
        self._unsent, self._moved = 0, now
        if len(self.connections) > self.limits.connections and not self._make_room():
            self._answer_at_once(busy())

    def data_received(self, data: bytes) -> None:
        """Parse, unless no more input is wanted."""
        if self._ended is not None or self._malformed:
            return
        if self._head_since is None and not self._running:
            self._head_since = self.loop.time()
        self._unaccounted += len(data)
        # The same data may contain the start of the body.
        if self._unaccounted > self.limits.header_bytes + READ_BYTES:
            self.send_400_response("the request header is too long")
            return
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Break reference cycles."""
        super().connection_lost(exc)
        self.transport = self._real

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client that closes only its sending side still gets its answers."""
        if not self._running or self.cycle.more_body:
            return None
        self.cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Start the time limit of a further request on a kept-alive connection."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Drop trailers after a body, because the request was checked without them."""
        if self._head_since is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers arrived in time."""
        self._head_since, self._unaccounted = None, 0
        self.scope[TARGET] = self.url  # type: ignore[literal-required]
        named = ABSOLUTE.match(self.url)
        if named is not None and self.url[named.end() : named.end() + 1] != b"/":
            self.url = named[0] + b"/" + self.url[named.end() :]
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # the parser reads nothing after such a request
        if len(self.pipeline) > PIPELINED:
            raise ValueError("too many requests at once")

    def on_body(self, body: bytes) -> None:
        """The guard counts body bytes."""
        self._unaccounted = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse malformed input after earlier requests are answered."""
        newest = self.cycle
        if newest is not None and newest.more_body and not newest.response_complete:
            # Its own body is malformed, so it will never be complete.
            newest.disconnected = True
            newest.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
            elif newest.response_started:
                self.transport.close()
                return
            else:
                self._running = False
        self._malformed = msg
        if self._running:
            self.flow.pause_reading()
        else:
            self._answer_at_once(RefusedError(status=400, message=msg))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = True
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Continue with the next request if this one is complete."""
        self._ending.flush()
        self._running, self._idle_since = False, self.loop.time()
        if self._head_since is not None:
            self._head_since = self._idle_since
        if self.cycle.response_complete and self.cycle.more_body:
            self.transport.close()
        super().on_response_complete()
        if self._malformed and not self._running:
            self._answer_at_once(RefusedError(status=400, message=self._malformed))

    def shutdown(self) -> None:
        """Answer accepted requests, then close."""
        if self._ended is not None:
            self.drop()
        else:
            super().shutdown()

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not read."""
        return self._real.get_write_buffer_size()

    def sweep(self, now: float) -> None:
        """Close or drop connections that took too long; called about twice a second."""
        unsent, patience = self.unsent, self.limits.stall_seconds
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        elif now - self._moved > patience:
            self.drop()
            return
        if self._ended is not None:
            if unsent == 0 and now - self._ended > patience:
                self.drop()
        elif not self._running and now - (self._head_since or now) > self.limits.header_seconds:
            self.transport.close()

    def end(self) -> None:
        """Close, but let a client that is still sending read its answer first.

        Closing with unread bytes would reset the connection and lose the answer.
        """
        if self._ended is not None:
            return
        self._ending.flush()
        self._ended, self._idle_since = self.loop.time(), 0.0
        unread = self.cycle is not None and self.cycle.more_body
        if (unread or self._malformed) and not self._real.is_closing():
            self._real.write_eof()
            self.flow.resume_reading()
        else:
            self._real.close()

    def _make_room(self) -> bool:
        least, longest = self.loop.time() - self.limits.idle_seconds, self
        for other in self.connections:
            assert isinstance(other, Connection)
            if other is not self and not other._running and other._idle_since <= least:
                least, longest = other._idle_since, other
        if longest is self:
            return False
        longest.drop()
        return True

    def drop(self) -> None:
        """Abort the connection immediately."""
        self._ended = self.loop.time()
        self.connections.discard(self)
        self._real.abort()

    def _answer_at_once(self, refused: RefusedError) -> None:
        body = error_body(refused)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **refused.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[refused.status] + head.encode() + b"\r\n" + body)
        self._malformed = self._malformed or refused.message
        self.transport.close()


class _Ending:
    """A transport that sends an answer's headers and body together, and closes through
    ``Connection.end``."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport, self._pieces = transport, list[bytes]()
        self._connection, self.close = connection, connection.end

    def write(self, data: bytes) -> None:
        """Send in the loop's next round at the latest."""
        if not self._pieces:
            self._connection.loop.call_soon(self.flush)
        self._pieces.append(data)

    def flush(self) -> None:
        """Send now."""
        if self._pieces and not self._transport.is_closing():
            self._transport.write(b"".join(self._pieces))
        self._pieces.clear()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._connection._ended is not None or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def with_limits(limits: Limits) -> type[Any]:
    """Return the class that a server uses for connections."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
