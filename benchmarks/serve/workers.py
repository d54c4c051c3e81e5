"""Measure requests per second at saturation, with one process and with two behind one port.

    python benchmarks/serve/workers.py RUN

Both services run all the time, and ``wrk`` on the same machine measures them in turn for a few
seconds each (``apt install wrk``).
"""

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import firstlight as fl
from firstlight.files import write_whole
from serving import RESULTS, circumstances, firstlight_server, load, started
from throughput import bodies, wrk

RESULT = RESULTS / "serve-workers-cpu.json"
COUNTS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Requests a second of one process and of two.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    run = fl.open_run(arguments.run)
    whole: dict[str, Any] = circumstances("python benchmarks/serve/workers.py RUN")
    whole |= {"recipe": run.recipe.name, "connections": arguments.connections, "runs": []}
    with ExitStack() as stack:
        body = bodies(Path(stack.enter_context(tempfile.TemporaryDirectory())))["firstlight"]
        command = firstlight_server(run.path)
        servers = {
            count: stack.enter_context(started([*command, "--workers", str(count)]))
            for count in COUNTS
        }
        for served in servers.values():  # load everything first
            wrk(served.port, body, arguments.connections, 3)
        for number in range(arguments.rounds):
            before = load()
            for place in range(len(COUNTS)):
                count = COUNTS[(place + number) % len(COUNTS)]
                served, cpu = servers[count], servers[count].cpu_seconds()
                figures = wrk(served.port, body, arguments.connections, arguments.seconds)
                cpu = served.cpu_seconds() - cpu
                figures["cpu_ms_per_request"] = round(1000 * cpu / figures["requests"], 3)
                figures |= {"workers": count, "round": number, "load_before": before}
                whole["runs"].append(figures)
                print(figures)
    rates = {
        count: [r["requests_per_second"] for r in whole["runs"] if r["workers"] == count]
        for count in COUNTS
    }
    whole["summary"] = {
        "median_requests_per_second": {n: statistics.median(r) for n, r in rates.items()},
        "ratio_median": round(
            statistics.median(b / a for a, b in zip(rates[1], rates[2], strict=True)), 2
        ),
    }
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")
    print(whole["summary"])


if __name__ == "__main__":
    main()
