"""Measure how soon each view of the studio is there, in a real browser.

    python benchmarks/studio/opening.py --repeats 7

Starts ``firstlight studio`` in an empty folder. Each view is opened in a new browser profile,
``--repeats`` times: the milliseconds from the navigation to the moment when nothing in the view is
busy any more. The view Data shows MNIST, 70,000 images; its first opening, which reads the set, is
kept apart as ``first``. Chromium and server share the machine. Writes
``results/studio-opening-cpu.json``.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, sync_playwright

from firstlight.runs.record import processor_name

RESULT = Path(__file__).resolve().parent.parent / "results" / "studio-opening-cpu.json"
PLACES = {
    "data": "#data/mnist",
    "network": "#network",
    "train": "#train",
    "teach": "#teach",
    "try": "#try/mnist",
    "results": "#results/mnist",
}
SETTLED = "document.title !== 'firstlight' && ![...document.querySelectorAll('[aria-busy=true]')]"
SETTLED += ".some((element) => element.offsetParent !== null)"


def opened(browser: Browser, address: str) -> float:
    """Open an address in a new profile, and return the milliseconds until it is settled."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.wait_for_function(SETTLED, polling=10, timeout=120_000)
    took: float = page.evaluate("performance.now()")
    context.close()
    return took


def measure(address: str, repeats: int) -> dict[str, dict[str, Any]]:
    """Return the milliseconds of each view: the first opening, and the median of the others."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        opened(browser, address)  # the browser's own start
        found = {}
        for name, place in PLACES.items():
            times = [opened(browser, f"{address}{place}") for _ in range(repeats + 1)]
            found[name] = {
                "first": round(times[0]),
                "median": round(statistics.median(times[1:])),
                "all": [round(one) for one in times[1:]],
            }
            sys.stdout.write(f"{name}: {found[name]}\n")
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats: int = parser.parse_args().repeats
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "firstlight", "studio", folder, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = [server.stdout.readline(), server.stdout.readline()][1].split()[1]
                milliseconds = measure(address, repeats)
            finally:
                server.terminate()
    values = {
        "command": "python benchmarks/studio/opening.py",
        "milliseconds": milliseconds,
        "environment": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "load_before": load_before,
        },
    }
    RESULT.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
