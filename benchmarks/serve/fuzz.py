"""The long form of ``tests/serve/test_fuzz.py``: 20,000 damaged pictures, 10,000 malformed
requests, and Schemathesis over the OpenAPI document, all against one running service.

    PYTHONPATH=. python benchmarks/serve/fuzz.py RUN
    PYTHONPATH=. python benchmarks/serve/fuzz.py RUN --studio

With ``--studio``, the studio serves the run, and Schemathesis also tries its routes.

It records how often each status came; every 5xx other than 503, every answer that reveals facts
about the machine, every hang, and every wrong answer to a valid request in between; whether the
service still ran at the end, and its memory.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from tests.serve.fuzzing import (
    Tally,
    malformed_requests,
    mutated_pictures,
    send_pictures,
    send_requests,
)

import firstlight as fl
from firstlight.files import write_whole
from serving import (
    RESULTS,
    circumstances,
    firstlight_server,
    load,
    pictures,
    started,
    studio_server,
)
from soak import studio_folder

RESULT = RESULTS / "serve-fuzz-cpu.json"
STUDIO_RESULT = RESULTS / "serve-fuzz-studio-cpu.json"
SEED = 20261124


def asker(run: fl.Run, port: int) -> Callable[[], bool]:
    """Return a function that sends one picture after another and says whether the answer is
    ``predict``'s."""
    images_NHWC, contents = pictures(50)
    expected = [p.probabilities for p in run.predict(images_NHWC)]
    turn = 0

    def ask() -> bool:
        nonlocal turn
        turn = (turn + 1) % len(contents)
        answer = httpx.post(f"http://127.0.0.1:{port}/api/predict", content=contents[turn])
        got = answer.json()["predictions"][0]["probabilities"]
        return all(abs(got[name] - wanted) < 1e-5 for name, wanted in expected[turn].items())

    return ask


def schemathesis(port: int, examples: int) -> dict[str, Any]:
    """Return Schemathesis's findings: answers that are errors or do not match the document."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run"),
                f"http://127.0.0.1:{port}/openapi.json",
                *("--phases", "coverage,fuzzing", "--max-examples", str(examples)),
                *("--seed", str(SEED), "--generation-database", "none", "--no-color"),
                *("--checks", "not_a_server_error,status_code_conformance"),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
        )
    cases = re.search(r"(\d+) generated", done.stdout)
    version = re.search(r"Schemathesis v?(\S+)", done.stdout)
    return {
        "version": version[1] if version else None,
        "cases": int(cases[1]) if cases else None,
        "exit_code": done.returncode,
        "end_of_output": "" if done.returncode == 0 else done.stdout[-4000:],
    }


def as_json(tally: Tally) -> dict[str, Any]:
    """Return a tally's figures."""
    return {
        "sent": tally.sent,
        "statuses": dict(sorted(tally.statuses.items())),
        "faults": tally.faults[:50],
        "fault_count": len(tally.faults),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the service.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--studio", action="store_true")
    arguments = parser.parse_args()
    run = fl.open_run(arguments.run)
    how = " --studio" if arguments.studio else ""
    whole: dict[str, Any] = circumstances(f"PYTHONPATH=. python benchmarks/serve/fuzz.py RUN{how}")
    whole |= {"recipe": run.recipe.name, "seed": SEED, "load_before": load()}
    with ExitStack() as stack:
        command = firstlight_server(run.path)
        if arguments.studio:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "work"
            studio_folder(run, work)
            command = studio_server(work)
        served = stack.enter_context(started(command))
        ask = asker(run, served.port)
        assert ask()
        memory = [served.memory_mb()]
        whole["pictures"] = as_json(
            send_pictures(served.port, mutated_pictures(SEED), arguments.pictures, ask)
        )
        memory.append(served.memory_mb())
        print(whole["pictures"], memory)
        requests = malformed_requests(SEED, run.path.name)
        whole["requests"] = as_json(send_requests(served.port, requests, arguments.requests, ask))
        memory.append(served.memory_mb())
        print(whole["requests"], memory)
        whole["schemathesis"] = schemathesis(served.port, arguments.examples)
        print(whole["schemathesis"])
        whole["right_answers_afterwards"] = ask()
        whole["still_running"] = served.process.poll() is None
        whole["memory_mb"] = [round(m, 1) for m in memory]
    whole["load_after"] = load()
    write_whole(STUDIO_RESULT if arguments.studio else RESULT, json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
