"""A studio in a folder of its own, and a browser to see it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.conftest import Tab, browser, profile

from firstlight.serve.access import Access
from firstlight.serve.limits import Limits
from firstlight.serve.server import Server, listeners
from firstlight.studio.app import create_studio
from firstlight.studio.trainings import Queue
from firstlight.studio.workshop import Workshop

__all__ = ["browser"]


@dataclass
class Running:
    """A running studio."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def queue(self) -> Queue:
        return Queue(Workshop(self.folder))

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers=headers, timeout=60)


@contextmanager
def running(folder: Path, access: Access = Access(), port: int = 0) -> Iterator[Running]:  # noqa: B008
    """Serve a studio in a thread until the block ends."""
    limits, listens, ports = Limits(), threading.Event(), list[int]()

    def listening(at: int) -> None:
        ports.append(at)
        listens.set()

    server = Server(create_studio(folder, access, limits), limits=limits, listening=listening)
    with listeners("127.0.0.1", port) as sockets:
        thread = threading.Thread(target=server.run, args=(sockets,))
        thread.start()
        try:
            assert listens.wait(60), "the studio did not start"
            yield Running(folder, ports[0])
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def tab(browser: Any, studio: Running) -> Iterator[Tab]:
    with profile(browser, studio.address) as opened:
        yield opened
