"""Run the service until it is stopped."""

import asyncio
import errno
import gc
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import uvicorn

from firstlight.errors import UserError
from firstlight.memory import give_back, resident
from firstlight.serve.connection import Connection, with_limits
from firstlight.serve.limits import Limits

SHUTDOWN_SECONDS = 15
BACKLOG = 2048
"""Connections that may wait to be accepted."""
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for an IPv6 address of a name if there is no IPv6."""
SPARE_BYTES = 64 * 1024**2
"""If memory grew by more than this since the start, try to return some to the system."""
MOST_WAIT = 31
"""Most checks to skip after one that gained nothing; there is one check every two seconds."""
COLLECT_AFTER = (700, 10, 10)
"""Thresholds of Python's garbage collector."""


class Server(uvicorn.Server):
    """uvicorn's server, which also reports when it listens."""

    def __init__(self, app: Any, *, limits: Limits, listening: Callable[[int], None]) -> None:
        for name in ("uvicorn.error", "python_multipart"):  # no log of clients' mistakes
            logging.getLogger(name).setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                app,
                http=with_limits(limits),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._listening, self._limits = listening, limits
        self._settled, self._wait, self._spare_ticks = resident(), 0, 0

    async def startup(self, sockets: Any = None) -> None:
        """Start listening on these sockets, and report it."""
        await super().startup(sockets)
        if self.started:
            self._listening(int(sockets[0].getsockname()[1]))

    async def on_tick(self, counter: int) -> bool:
        """Runs ten times a second; every fifth time it checks the connections."""
        if counter % 5 == 0:
            self._look_over()
        if counter % 20 == 0:
            self._give_back()
        return await super().on_tick(counter)

    def _look_over(self) -> None:
        now = asyncio.get_running_loop().time()
        connections = [c for c in self.server_state.connections if isinstance(c, Connection)]
        for connection in connections:
            connection.sweep(now)
        unsent = sum(connection.unsent for connection in connections)
        for connection in sorted(connections, key=lambda c: -c.unsent):
            if unsent <= self._limits.unsent_bytes:
                break
            unsent -= connection.unsent
            connection.drop()

    def _give_back(self) -> None:
        """Return freed memory to the system, less often if there is nothing to gain."""
        if self._spare_ticks > 0:
            self._spare_ticks -= 1
            return
        before = resident()
        if before <= self._settled + SPARE_BYTES:
            return
        give_back()
        gained = before - resident() > SPARE_BYTES // 4
        self._wait = 0 if gained else min(2 * self._wait + 1, MOST_WAIT)
        self._spare_ticks = self._wait

    async def shutdown(self, sockets: Any = None) -> None:
        """Finish accepted requests. Do not raise a signal again that was obeyed."""
        await super().shutdown(sockets)
        self._captured_signals.clear()


@contextmanager
def listeners(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Yield sockets that listen on all addresses of this name until the block ends; port 0 means
    any free port.

    Raises ``UserError`` if an address is not available.
    """
    with ExitStack() as stack:
        found = list[socket.socket]()
        try:
            for family, address in _addresses(host, port):
                at = (address, found[0].getsockname()[1] if found else port)
                try:
                    one = socket.create_server(at, family=family, backlog=BACKLOG)
                except OSError as error:
                    if error.errno not in NOT_HERE:
                        raise
                else:
                    found.append(stack.enter_context(one))
        except OSError:
            found.clear()
        if not found:
            raise UserError(
                f"cannot listen on {host}:{port}: another program may be using that port, or "
                f"{host} is not an address of this machine. Choose another --port (0 takes any "
                "free one) or --host"
            )
        yield found


def _addresses(host: str, port: int) -> list[tuple[int, str]]:
    """Return family and address of each address of the name. Raises ``OSError``."""
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(str(error)) from error
    return list(dict.fromkeys((int(family), str(at[0])) for family, *_, at in known))


def run(server: Server, sockets: Sequence[socket.socket]) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish accepted ones. A second SIGINT stops at
    once."""
    # Freeze loaded objects; otherwise the garbage collector walks over all of PyTorch's objects
    # again and again, which took a fifth of a request's time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)  # the command collects less often
    with suppress(KeyboardInterrupt):
        server.run(list(sockets))
