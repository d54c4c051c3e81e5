"""Measure requests per second at saturation: firstlight and LitServe with the same network, in
turn.

    python benchmarks/serve/throughput.py RUN --litserve ENVIRONMENT

``ENVIRONMENT`` is a virtual environment with LitServe (see ``litserve_side.py``). Every side gets
the same pictures from ``wrk`` (``apt install wrk``), one thread, in its own process. All servers
run all the time, and are measured in turn for a few seconds each. LitServe is measured with and
without its own batching.
"""

import argparse
import base64
import json
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import firstlight as fl
from firstlight.files import write_whole
from serving import HERE, RESULTS, Served, circumstances, firstlight_server, load, pictures, started

RESULT = RESULTS / "serve-throughput-cpu.json"
SIDES = ("firstlight", "litserve", "litserve-batched")
PICTURES = 500


@contextmanager
def side(name: str, run: Path, litserve: Path) -> Iterator[Served]:
    """Start a server of this side, and yield it when ready."""
    if name == "firstlight":
        with started(firstlight_server(run)) as served:
            yield served
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(litserve / "bin" / "python"), "-u", str(HERE / "litserve_side.py")]
    command += [str(run), str(port), *(["--batched"] if name.endswith("batched") else [])]
    with started(command) as served:
        until_ready(port)
        yield served


def until_ready(port: int) -> None:
    """Wait until LitServe's worker has loaded its model."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError("LitServe did not become ready")


def bodies(folder: Path) -> dict[str, tuple[Path, str, str]]:
    """Return each side's request bodies, path, and content type."""
    plain, coded = folder / "png", folder / "json"
    for made in (plain, coded):
        made.mkdir()
    for number, content in enumerate(pictures(PICTURES)[1]):
        (plain / f"{number}.bin").write_bytes(content)
        text = json.dumps({"image": base64.b64encode(content).decode()})
        (coded / f"{number}.bin").write_text(text)
    theirs = (coded, "/predict", "application/json")
    return {
        "firstlight": (plain, "/api/predict", "image/png"),
        "litserve": theirs,
        "litserve-batched": theirs,
    }


def wrk(port: int, of: tuple[Path, str, str], connections: int, seconds: int) -> dict[str, Any]:
    """Return wrk's results after ``seconds`` seconds."""
    folder, path, kind = of
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"),
            *("-s", str(HERE / "pictures.lua"), f"http://127.0.0.1:{port}{path}"),
            *("--", str(folder), str(PICTURES), kind),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"^RESULT (.*)$", done.stdout, flags=re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(found[1])
    figures["requests_per_second"] = round(figures["requests"] / figures["seconds"], 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Requests a second beside LitServe.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--litserve", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    run = fl.open_run(arguments.run)
    whole: dict[str, Any] = circumstances(
        "python benchmarks/serve/throughput.py RUN --litserve ENVIRONMENT"
    )
    program = "from importlib.metadata import version as v; print(v('litserve'), v('torch'))"
    python = str(arguments.litserve / "bin" / "python")
    versions = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    whole["litserve"], whole["litserve_torch"] = versions.stdout.split()
    whole |= {"recipe": run.recipe.name, "connections": arguments.connections, "runs": []}
    with ExitStack() as stack:
        of = bodies(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        servers = {
            name: stack.enter_context(side(name, run.path, arguments.litserve)) for name in SIDES
        }
        for name in SIDES:  # load everything first
            wrk(servers[name].port, of[name], arguments.connections, 3)
        for number in range(arguments.rounds):
            before = load()
            # Each side is first, second and last in turn.
            for place in range(len(SIDES)):
                name = SIDES[(place + number) % len(SIDES)]
                served, cpu = servers[name], servers[name].cpu_seconds()
                figures = wrk(served.port, of[name], arguments.connections, arguments.seconds)
                cpu = served.cpu_seconds() - cpu
                figures["cpu_ms_per_request"] = round(1000 * cpu / figures["requests"], 3)
                figures |= {"side": name, "round": number, "load_before": before}
                whole["runs"].append(figures)
                print(figures)
    rates = {
        name: [r["requests_per_second"] for r in whole["runs"] if r["side"] == name]
        for name in SIDES
    }
    whole["summary"] = {
        "median_requests_per_second": {n: statistics.median(r) for n, r in rates.items()},
        "ratio_median": {
            name: round(
                statistics.median(a / b for a, b in zip(rates[SIDES[0]], rates[name], strict=True)),
                2,
            )
            for name in SIDES[1:]
        },
    }
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")
    print(whole["summary"])


if __name__ == "__main__":
    main()
