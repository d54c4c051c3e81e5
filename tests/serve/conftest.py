"""A real browser for the page's tests, and runs to show in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.kit import striped
from tests.serve.running import Running, running

import firstlight as fl

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
WAIT = 30_000
"""Milliseconds to wait for a condition."""


@dataclass
class Tab:
    """A page in the browser, with its requests and errors."""

    page: Any
    address: str
    asked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def open(self, place: str = "") -> None:
        """Go to ``#place`` and wait until everything is loaded."""
        self.page.goto(f"{self.address}/{place}")
        self.settled()

    def settled(self) -> None:
        """Wait until every requested answer is shown."""
        from playwright.sync_api import expect

        expect(self.page).not_to_have_title("firstlight", timeout=WAIT)
        self.count("[aria-busy=true]:visible", 0)

    def count(self, selector: str, number: int) -> None:
        """Wait until there are ``number`` elements."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_have_count(number, timeout=WAIT)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def shows(self, selector: str, text: str) -> None:
        """Wait until an element contains this text."""
        self.page.locator(selector, has_text=text).first.wait_for()

    def stroke(self, *points: tuple[float, float], sheet: str = "#paper") -> None:
        """Draw one stroke with the mouse, through points as shares of the canvas."""
        box = self.page.locator(sheet).bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up()


@contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """Start Chromium, which can reach only this machine. ``more``: further arguments."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                # One process for the page, where each visit to it would otherwise start two.
                "--disable-site-isolation-trials",
                "--process-per-site",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                *more,
            ],
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium for all tests of a file."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def stripes_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Rows against columns: not calibrated, not evaluated, with images only in memory."""
    out = tmp_path_factory.mktemp("runs") / "stripes-1"
    settings = ["train.epochs=20", "train.batch_size=20"]
    return fl.train(striped(), "digits-tutorial", settings=settings, out=out, quiet=True)


@pytest.fixture(scope="session")
def second_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Another run on the digits, less accurate."""
    out = tmp_path_factory.mktemp("runs") / "digits-2"
    run = fl.train("digits", epochs=1, seed=1, out=out, quiet=True)
    run.evaluate()
    return run


@pytest.fixture(scope="module")
def served(digits_run: fl.Run, second_run: fl.Run, stripes_run: fl.Run) -> Iterator[Running]:
    with running([digits_run, second_run, stripes_run]) as service:
        yield service


@contextmanager
def profile(browser: Any, address: str) -> Iterator[Tab]:
    """Open a new browser profile at a service; at the end, assert that nothing went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = new_tab(context, address)
    yield opened
    context.close()
    assert opened.faults == []


@pytest.fixture
def tab(browser: Any, served: Running) -> Iterator[Tab]:
    with profile(browser, served.address) as opened:
        yield opened


def new_tab(context: Any, address: str) -> Tab:
    """Open another page in a profile."""
    page = context.new_page()
    page.set_default_timeout(WAIT)
    opened = Tab(page, address)
    page.on("pageerror", lambda error: opened.faults.append(str(error)))
    page.on("request", lambda request: opened.asked.append(request.url))
    return opened


def evaluated_rows(run: fl.Run) -> list[dict[str, str]]:
    """Return the lines of ``predictions.csv``."""
    import csv

    with (Path(run.path) / "predictions.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))
