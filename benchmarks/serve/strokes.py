"""Measure how soon the page shows the answer to a stroke, in a real browser.

    python benchmarks/serve/strokes.py runs/mnist-quick-1

Serves the run in its own process and draws on the page like a hand: strokes of 25 moves, one every
16 ms, so that intermediate answers are requested too. The page measures the time from the event of
the last move to the frame that shows its answer. Needs Chromium and Playwright.
"""

import argparse
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from firstlight.files import write_whole
from firstlight.runs.record import processor_name

RESULT = Path(__file__).resolve().parent.parent / "results" / "serve-strokes-cpu.json"
MOVES, PAUSE = 25, 16
# Record the time of the newest move, and of each frame that shows an answer to all earlier moves.
WATCH = """
window.waits = [];
let moved = null;
document.addEventListener("pointermove", (event) => { moved = event.timeStamp; }, true);
addEventListener("DOMContentLoaded", () => {
  const card = document.getElementById("answer-card");
  new MutationObserver(() => {
    if (card.getAttribute("aria-busy") !== "false" || moved === null) return;
    const from = moved;
    requestAnimationFrame((now) => waits.push([from, Math.max(now, performance.now()) - from]));
  }).observe(card, { attributes: true, attributeFilter: ["aria-busy"] });
});
"""


def draw(page: Page, rng: random.Random) -> float:
    """Draw one stroke, and return the milliseconds from its last move to its answer."""
    box = page.locator("#paper").bounding_box()
    assert box is not None
    across, down, turn = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5), rng.uniform(2, 6)
    for at in range(MOVES):
        angle = turn * at / MOVES
        x, y = 0.5 + across * math.cos(angle) * 0.8, 0.5 + down * math.sin(angle) * 0.8
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if at == 0:
            page.mouse.down()
        page.wait_for_timeout(PAUSE)
    page.mouse.up()
    page.locator("#answer-card[aria-busy=false]").wait_for()
    page.wait_for_timeout(100)
    waited: list[list[float]] = page.evaluate("waits.splice(0)")
    return waited[-1][1]


def measure(address: str, strokes: int, rng: random.Random) -> list[float]:
    """Return the milliseconds of each stroke; every third time the canvas is cleared first."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(WATCH)
        page.goto(address)
        page.locator("#view-try[aria-busy=false]").wait_for(timeout=120_000)
        waits = []
        for number in range(strokes + 3):
            if number % 3 == 0 and number:
                page.click("#clear")
            waits.append(draw(page, rng))
        browser.close()
    return waits[3:]  # the first ones warm up the browser


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--strokes", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    command = [sys.executable, "-m", "firstlight", "serve", str(arguments.run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = [server.stdout.readline(), server.stdout.readline()][1].split()[1]
            waits = sorted(measure(address, arguments.strokes, random.Random(0)))
        finally:
            server.terminate()
    values: dict[str, Any] = {
        "command": "python benchmarks/serve/strokes.py RUN",
        "recipe": json.loads((arguments.run / "summary.json").read_text())["recipe"],
        "strokes": len(waits),
        "milliseconds": {
            "median": waits[len(waits) // 2],
            "p95": waits[math.ceil(0.95 * len(waits)) - 1],
            "max": waits[-1],
        },
        "all_milliseconds": [round(wait, 1) for wait in waits],
        "seed": 0,
        "environment": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "load_average_before": load_before,
            "python": platform.python_version(),
        },
    }
    write_whole(arguments.out, json.dumps(values, indent=1) + "\n")
    print(json.dumps({k: v for k, v in values.items() if k != "all_milliseconds"}, indent=1))


if __name__ == "__main__":
    main()
