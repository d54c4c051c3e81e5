"""One connection: uvicorn's protocol, with a bound on how long a request's head may take.

A client that sends a head byte by byte, or none, would otherwise hold its connection for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from firstlight.serve.limits import Limits


class Connection(HttpToolsProtocol):
    """uvicorn's, less patient. ``limits`` is set by the server that makes it."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts with the connection."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is whole."""
        if self._timer is not None:
            self._head_bytes += len(data)
            # A body may begin in the same piece, which is at most 256 KiB.
            if self._head_bytes > self.limits.header_bytes + 256 * 1024:
                self._forget_timer()
                self.send_400_response("The head of the request is too long.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A further request on a kept connection has its own time."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head came in time."""
        self._forget_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._forget_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._timer is None:
            self._head_bytes = 0
            self._timer = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()


def with_limits(limits: Limits) -> type[Any]:
    """The class that a server makes connections of."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
