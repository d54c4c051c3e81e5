"""Make the README's pictures anew: ``docs/pictures/page.png`` and ``predictions.png``.

    firstlight train mnist
    python tools/draw_readme.py runs/mnist-quick-1

The run is served, and a digit is drawn on its page in Chromium. The predictions are those of the
bundled CIFAR-10 model, which is evaluated first. Needs the extra ``dev``, Chromium and CIFAR-10.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import firstlight as fl
from firstlight.files import write_whole
from firstlight.runs.folder import open_run_folder
from firstlight.verbs.report import prediction_strip_figure

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
WINDOW: Any = {"width": 1240, "height": 1340}
SEVEN = (
    *((0.3, 0.27), (0.42, 0.22), (0.57, 0.21), (0.72, 0.23)),
    *((0.62, 0.45), (0.54, 0.62), (0.48, 0.83)),
)
"""A stroke, as shares of the canvas."""
WAIT = 60_000
"""Milliseconds that the page may take."""


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of the run's page."""
    command = [sys.executable, "-m", "firstlight", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if found := re.search(r"http://[\d.:]+", line):
                    yield found[0]
                    return
            sys.exit(f"firstlight serve ended with {server.wait()}")
        finally:
            server.terminate()


def page(address: str) -> bytes:
    """The page with a drawn 7, as a PNG file."""
    from playwright.sync_api import expect, sync_playwright

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no Chromium on this machine; apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        opened: Any = chromium.new_page(viewport=WINDOW, color_scheme="light")
        opened.set_default_timeout(WAIT)
        opened.goto(address)
        busy = opened.locator("[aria-busy=true]:visible")
        expect(opened).not_to_have_title("firstlight", timeout=WAIT)
        expect(busy).to_have_count(0, timeout=WAIT)
        box = opened.locator("#paper").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in SEVEN]
        opened.mouse.move(*places[0])
        opened.mouse.down()
        for place in places[1:]:
            opened.mouse.move(*place, steps=5)
        opened.mouse.up()
        opened.get_by_label("Grad-CAM").check()
        expect(busy).to_have_count(0, timeout=WAIT)
        opened.mouse.move(2, 2)
        content: bytes = opened.screenshot()
        chromium.close()
        return content


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="a run of MNIST")
    run: Path = parser.parse_args().run
    with served(run) as address:
        write_whole(PICTURES / "page.png", page(address))
    bundled = fl.open_run("cifar10")
    bundled.evaluate()
    strip = prediction_strip_figure(open_run_folder(bundled.path))
    write_whole(PICTURES / "predictions.png", strip.png())


if __name__ == "__main__":
    main()
