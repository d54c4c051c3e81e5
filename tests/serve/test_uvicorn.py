"""Facts about uvicorn's internals that the service depends on, and that no release promises to
keep.

If one of these fails, uvicorn has changed: look at ``serve/connection.py`` or ``serve/server.py``,
then raise the upper bound in pyproject.toml.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from firstlight.serve.connection import Connection
from firstlight.serve.server import Server

HERE = f"uvicorn {uvicorn.__version__}"
# Our methods that replace uvicorn's, with their arguments and the uvicorn methods that call them.
# None is for those called by asyncio and httptools.
CONNECTION: dict[str, tuple[list[str], str | None]] = {
    "connection_made": (["transport"], None),
    "data_received": (["data"], None),
    "connection_lost": (["exc"], None),
    "eof_received": ([], None),
    "on_message_begin": ([], None),
    "on_header": (["name", "value"], None),
    "on_headers_complete": ([], None),
    "on_body": (["body"], None),
    "send_400_response": (["msg"], "data_received"),
    "_start_asgi_task": (["cycle", "app"], "on_headers_complete"),
    "on_response_complete": ([], "on_headers_complete"),
    "shutdown": ([], None),
}
SERVER: dict[str, tuple[list[str], str | None]] = {
    "startup": (["sockets"], "_serve"),
    "on_tick": (["counter"], "main_loop"),
    "shutdown": (["sockets"], "_serve"),
}
CYCLE = ("more_body", "response_complete", "response_started", "disconnected", "keep_alive")


def names_in(function: Callable[..., Any]) -> set[str]:
    """Return attributes and methods that its code names."""
    return set(function.__code__.co_names)


@pytest.mark.parametrize(
    ("ours", "theirs", "table"),
    [(Connection, HttpToolsProtocol, CONNECTION), (Server, uvicorn.Server, SERVER)],
)
def test_methods_that_ours_replace_are_there_take_the_same_and_are_called(
    ours: type, theirs: type, table: dict[str, tuple[list[str], str | None]]
) -> None:
    replaced = {name for name in vars(ours) if not name.startswith("__") and name in dir(theirs)}
    assert replaced == set(table), f"{HERE}: {ours.__name__} replaces other methods of uvicorn's"
    for name, (arguments, caller) in table.items():
        taken = list(inspect.signature(getattr(theirs, name)).parameters)[1:]
        assert taken == arguments, f"{HERE}: {theirs.__name__}.{name} takes {taken}"
        if caller is not None:
            called = name in names_in(getattr(theirs, caller))
            assert called, f"{HERE}: {theirs.__name__}.{caller} no longer calls {name}"


class Wire(asyncio.Transport):
    """A client's side, which keeps everything written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


def test_a_connection_of_uvicorns_has_what_ours_reads() -> None:
    async def asked() -> tuple[HttpToolsProtocol, Wire]:
        config = uvicorn.Config(app, http=HttpToolsProtocol, ws="none", log_config=None)
        config.load()
        protocol, wire = HttpToolsProtocol(config, ServerState(), {}), Wire()
        protocol.connection_made(wire)
        assert protocol in protocol.connections, f"{HERE}: connections holds who is connected"
        protocol.data_received(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        protocol.data_received(b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n")
        assert len(protocol.pipeline) == 1, f"{HERE}: the second request does not wait"
        assert len(protocol.pipeline[0]) == 2, f"{HERE}: what waits is no pair"
        while len(protocol.tasks):
            await asyncio.gather(*protocol.tasks)
            await asyncio.sleep(0)
        if protocol.timeout_keep_alive_task is not None:
            protocol.timeout_keep_alive_task.cancel()
        return protocol, wire

    protocol, wire = asyncio.run(asked())
    assert wire.written.count(b"HTTP/1.1 200 OK") == 2
    assert isinstance(protocol.flow, FlowControl)
    assert (protocol.url, protocol.transport) == (b"/b", wire)
    for name in CYCLE:
        assert isinstance(getattr(protocol.cycle, name), bool), f"{HERE}: cycle.{name} is no bool"
    assert isinstance(protocol.cycle.message_event, asyncio.Event)
    assert protocol.cycle.response_complete
    assert protocol.scope["path"] == "/b"
    assert hasattr(protocol.parser, "should_upgrade")
    assert STATUS_LINE[503] == b"HTTP/1.1 503 Service Unavailable\r\n"


def test_a_server_of_uvicorns_has_what_ours_reads() -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    assert server.server_state.connections == set()
    assert server._captured_signals == [], f"{HERE}: signals are kept elsewhere"
    raised = "_captured_signals" in names_in(inspect.unwrap(uvicorn.Server.capture_signals))
    assert raised, f"{HERE}: signals that were obeyed are raised again in another way"
