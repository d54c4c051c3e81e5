"""Measure how long a 28×28 PNG takes to be answered: one client, one request after another.

    python benchmarks/serve/latency.py RUN

The server is ``firstlight serve RUN`` in its own process. The client is this process, with one
kept-alive connection. Every answer is compared with that of ``predict``.
"""

import argparse
import json
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

import firstlight as fl
from firstlight.files import write_whole
from serving import RESULTS, circumstances, firstlight_server, load, pictures, request, started

RESULT = RESULTS / "serve-latency-cpu.json"
WARM_UP = 300


def ask(connection: socket.socket, whole: bytes) -> tuple[bytes, float]:
    """Return the answer's body, and the milliseconds from the first byte sent to the last
    received."""
    begun = time.perf_counter()
    connection.sendall(whole)
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    head, _, body = read.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return body, 1000 * (time.perf_counter() - begun)


def measure(run: fl.Run, count: int) -> dict[str, Any]:
    """Measure ``count`` requests in turn."""
    images_NHWC, contents = pictures(1000)
    expected = [p.probabilities for p in run.predict(images_NHWC)]
    wrong, farthest, milliseconds = 0, 0.0, []
    before = load()
    with started(firstlight_server(run.path)) as served:
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(-WARM_UP, count):
            which = number % len(contents)
            body, took = ask(connection, request("/api/predict", contents[which]))
            (answer,) = json.loads(body)["predictions"]
            wanted = expected[which]
            off = max(abs(answer["probabilities"][name] - wanted[name]) for name in wanted)
            farthest = max(farthest, off)
            wrong += answer["best"] != next(iter(wanted))
            if number >= 0:
                milliseconds.append(took)
        connection.close()
    p50, p95, p99 = (round(float(p), 3) for p in np.percentile(milliseconds, [50, 95, 99]))
    return {
        "requests": count,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "wrong_answers": wrong,
        "largest_difference_of_a_probability": farthest,
        "load_before": before,
        "load_after": load(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The latency of one request.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    run = fl.open_run(arguments.run)
    whole: dict[str, Any] = circumstances("python benchmarks/serve/latency.py RUN")
    whole |= {"recipe": run.recipe.name, "picture": "PNG, 28×28, grey", "rounds": []}
    for _ in range(arguments.rounds):
        whole["rounds"].append(measure(run, arguments.requests))
        print(whole["rounds"][-1])
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
