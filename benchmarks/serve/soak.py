"""Run the service for ten minutes at twice its capacity, checking every answer and its memory.

    python benchmarks/serve/soak.py RUN
    python benchmarks/serve/soak.py RUN --studio

``wrk`` finds the capacity first. Then this process sends requests at twice that rate, whether or
not the service keeps up, over as many connections as needed, more than the service accepts. The
service must answer as many as it can, correctly, and answer 503 to the rest. A request without an
answer after 30 seconds is a hang.

With ``--studio``, the studio serves the run, and one request in eight is to its views: a set's
description, its pictures, a recipe, what was collected, the trainings. Each of those answers must
have the bytes that the idle service gave.
"""

import argparse
import json
import selectors
import shutil
import socket
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import firstlight as fl
from firstlight.files import write_whole
from firstlight.recipe import load_recipe
from serving import (
    RESULTS,
    Served,
    asking,
    circumstances,
    firstlight_server,
    load,
    pictures,
    request,
    started,
    studio_server,
)
from throughput import bodies, wrk

RESULT = RESULTS / "serve-soak-cpu.json"
STUDIO_RESULT = RESULTS / "serve-soak-studio-cpu.json"
STUDIO_EVERY = 8
"""One request in so many is to a view of the studio."""
CONNECTIONS = 600
HANG_SECONDS = 30.0
TOLERANCE = 1e-5
WARM_UP_SHARE = 0.1


@dataclass(eq=False)
class Client:
    """One connection of the load."""

    socket: socket.socket
    which: int = -1
    """The requested picture; -1 for none."""
    sent: float = 0.0
    read: bytearray = field(default_factory=bytearray)


@dataclass
class Soak:
    """The load, and its results."""

    port: int
    wholes: list[bytes]
    expected: list[dict[str, float] | bytes]
    """The probabilities, or for other requests the whole body."""
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    hangs: int = 0
    broken: int = 0
    """Connections that ended without an answer."""
    unsent: int = 0
    """Requests for which no connection was free."""
    milliseconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._idle: deque[Client] = deque()
        self._all: set[Client] = set()
        self._next = 0

    def run(self, rate: float, seconds: float, served: Served) -> list[tuple[float, float]]:
        """Send ``rate`` requests per second; return seconds and the server's memory in MB every two
        seconds."""
        begun = time.perf_counter()
        issued, looked, memory = 0, 0.0, list[tuple[float, float]]()
        while (now := time.perf_counter() - begun) < seconds:
            due = min(int(now * rate) - issued, 200)
            for _ in range(due):
                self._send(now + begun)
            issued += due
            self._read(0.001 if due == 0 else 0.0)
            if now - looked >= 2:
                looked = now
                memory.append((round(now, 1), served.memory_mb()))
                self._count_hangs()
        self._finish()
        return memory

    def _finish(self) -> None:
        """Wait for all open requests."""
        until = time.perf_counter() + HANG_SECONDS
        while any(c.which >= 0 for c in self._all) and time.perf_counter() < until:
            self._read(0.05)
        self.hangs += sum(c.which >= 0 for c in self._all)
        for client in list(self._all):
            self._close(client)

    def _send(self, now: float) -> None:
        client = self._idle.popleft() if self._idle else self._open()
        if client is None:
            self.unsent += 1
            return
        client.which, client.sent = self._next % len(self.wholes), now
        self._next += 1
        try:
            client.socket.sendall(self.wholes[client.which])
        except OSError:
            self._broke(client)

    def _open(self) -> Client | None:
        if len(self._all) >= CONNECTIONS:
            return None
        try:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        except OSError:
            self.broken += 1
            return None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(connection)
        self._all.add(client)
        self._selector.register(connection, selectors.EVENT_READ, client)
        return client

    def _read(self, wait: float) -> None:
        for key, _ in self._selector.select(wait):
            client: Client = key.data
            try:
                piece = client.socket.recv(65536)
            except OSError:
                piece = b""
            if not piece:
                if client.which >= 0:
                    self._broke(client)
                else:
                    self._close(client)
                continue
            client.read += piece
            self._take(client)

    def _take(self, client: Client) -> None:
        head, mark, body = bytes(client.read).partition(b"\r\n\r\n")
        if not mark:
            return
        fields = head.lower()
        if len(body) < int(fields.partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        status = int(head[9:12])
        self.statuses[status] += 1
        if status == 200:
            self.milliseconds.append(1000 * (time.perf_counter() - client.sent))
            self.wrong += not self._is_right(client.which, body)
        elif status == 503 and b"retry-after: " not in fields:
            self.without_retry_after += 1
        client.which = -1
        client.read.clear()
        if b"connection: close" in fields:
            self._close(client)
        else:
            self._idle.append(client)

    def _is_right(self, which: int, body: bytes) -> bool:
        wanted = self.expected[which]
        if isinstance(wanted, bytes):
            return body == wanted
        got = json.loads(body)["predictions"][0]["probabilities"]
        return all(abs(got[name] - wanted[name]) < TOLERANCE for name in wanted)

    def _broke(self, client: Client) -> None:
        self.broken += 1
        self._close(client)

    def _close(self, client: Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()
        self._all.discard(client)
        if client.which < 0 and client in self._idle:
            self._idle.remove(client)

    def _count_hangs(self) -> None:
        now = time.perf_counter()
        for client in [c for c in self._all if c.which >= 0 and now - c.sent > HANG_SECONDS]:
            self.hangs += 1
            self._close(client)


def studio_folder(run: fl.Run, folder: Path) -> list[bytes]:
    """Make a working folder with the run and a few collected pictures; return the requests to its
    views."""
    shutil.copytree(run.path, folder / "runs" / run.path.name)
    _, contents = pictures(40)
    for number, content in enumerate(contents):
        path = folder / "pictures" / "digits" / ("odd", "even")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    toml = json.dumps({"toml": load_recipe("mnist-tutorial").to_toml(), "data": "mnist"}).encode()
    own = "pictures%2Fdigits"
    return [
        asking("/api/studio/data?set=mnist"),
        asking("/api/studio/data/pictures?set=mnist&class=7&text=test&page=3"),
        asking("/api/studio/data/picture?set=mnist&name=test%2F0"),
        asking(f"/api/studio/data?set={own}"),
        asking(f"/api/studio/data/pictures?set={own}&class=odd"),
        asking(f"/api/studio/data/picture?set={own}&name=odd%2F0.png"),
        asking("/api/studio/sets"),
        asking("/api/studio/trainings"),
        asking("/api/studio/layers"),
        request("/api/studio/written", toml),
        asking("/api/studio/collected/set?set=digits"),
    ]


def idle_answer(port: int, whole: bytes) -> bytes:
    """Return the body of an answer. Asks again while a set is being opened."""
    while True:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(whole.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        if head[9:12] == b"200" and b'"opening":true' not in body:
            return body
        if head[9:12] not in (b"200", b"503"):
            raise RuntimeError(f"{whole[:200]!r}: {answer[:500]!r}")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description="The service at twice its capacity.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--studio", action="store_true")
    arguments = parser.parse_args()
    run = fl.open_run(arguments.run)
    images_NHWC, contents = pictures(500)
    expected: list[dict[str, float] | bytes] = [p.probabilities for p in run.predict(images_NHWC)]
    wholes = [request("/api/predict", content) for content in contents]
    how = " --studio" if arguments.studio else ""
    whole: dict[str, Any] = circumstances(f"python benchmarks/serve/soak.py RUN{how}")
    whole |= {"recipe": run.recipe.name, "load_before": load()}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        command, views = firstlight_server(run.path), list[bytes]()
        if arguments.studio:
            views = studio_folder(run, Path(folder) / "work")
            command = studio_server(Path(folder) / "work")
        served = stack.enter_context(started(command))
        if views:
            answers = [idle_answer(served.port, one) for one in views]
            for number, at in enumerate(range(0, len(wholes), STUDIO_EVERY)):
                wholes[at], expected[at] = views[number % len(views)], answers[number % len(views)]
        of = bodies(Path(folder))["firstlight"]
        wrk(served.port, of, 64, 3)
        capacity = wrk(served.port, of, 64, 10)["requests_per_second"]
        soak = Soak(served.port, wholes, expected)
        memory = soak.run(2 * capacity, arguments.seconds, served)
        whole["still_running"] = served.process.poll() is None
    whole["load_after"] = load()
    settled = [mb for second, mb in memory if second >= WARM_UP_SHARE * arguments.seconds]
    answered = soak.statuses[200]
    p50, p95, p99 = (round(float(p), 1) for p in np.percentile(soak.milliseconds, [50, 95, 99]))
    whole |= {
        "seconds": arguments.seconds,
        "capacity_requests_per_second": capacity,
        "offered_requests_per_second": 2 * capacity,
        "connections": CONNECTIONS,
        "statuses": {str(k): v for k, v in sorted(soak.statuses.items())},
        "answered_per_second": round(answered / arguments.seconds, 1),
        "wrong_answers": soak.wrong,
        "hangs": soak.hangs,
        "broken_connections": soak.broken,
        "503_without_retry_after": soak.without_retry_after,
        "no_connection_free": soak.unsent,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "memory_mb_after_warm_up": {"least": min(settled), "most": max(settled)},
        "memory_growth": round(max(settled) / settled[0] - 1, 4),
        "memory_mb": memory[:: max(1, len(memory) // 60)],
    }
    write_whole(STUDIO_RESULT if arguments.studio else RESULT, json.dumps(whole, indent=2) + "\n")
    print({k: v for k, v in whole.items() if k not in ("environment", "memory_mb")})


if __name__ == "__main__":
    main()
