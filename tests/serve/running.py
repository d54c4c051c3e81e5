"""Run a service for a test, on its own port."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

import firstlight as fl
from firstlight.runs.folder import RunFolder
from firstlight.runtime import OnnxModel
from firstlight.serve.access import Access
from firstlight.serve.app import create_app
from firstlight.serve.exported import open_served
from firstlight.serve.limits import Limits
from firstlight.serve.server import Server, listeners
from firstlight.serve.service import Service, predictors
from firstlight.verbs.run_data import test_images_here


@dataclass
class Running:
    """A running service."""

    port: int
    service: Service

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers=headers, timeout=60)


@contextmanager
def running(
    runs: Sequence[fl.Run | RunFolder | OnnxModel],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    origins: Sequence[str] = (),
    port: int = 0,
) -> Iterator[Running]:
    """Serve the runs in a thread until the block ends."""
    bounds = limits or Limits()
    served = open_served([run.path for run in runs])
    service = Service(
        predictors(served, bounds),
        limits=bounds,
        threads=1,
        find=lambda one: test_images_here(one.described, str(one.path)),
    )
    listens, ports = threading.Event(), list[int]()

    def listening(port: int) -> None:
        ports.append(port)
        listens.set()

    server = Server(
        create_app(service, Access(token=token, origins=frozenset(origins))),
        limits=bounds,
        listening=listening,
    )
    with listeners("127.0.0.1", port) as sockets:
        thread = threading.Thread(target=server.run, args=(sockets,))
        thread.start()
        try:
            assert listens.wait(60), "the service did not start"
            yield Running(ports[0], service)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
