"""All views of the studio: nothing is wider than the window at three widths, axe finds nothing
serious in both themes, and nothing is asked of another host."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.serve.conftest import new_tab
from tests.serve.test_page_at_home import AXE, serious
from tests.studio.conftest import Running, running
from tests.studio.test_collected import picture

from firstlight.studio.checking import Check
from firstlight.studio.trainings import Wanted
from firstlight.studio.workshop import Workshop

WIDTHS = (390, 820, 1280)
"""Pixels: of a phone, a tablet, and a laptop. The themes differ in colours alone."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio with a training that failed and a set of pictures with a correction, so that there
    is something to show."""
    folder = tmp_path_factory.mktemp("studio")
    for label in ("a-long-name-of-a-class-that-goes-on-and-on", "b"):
        place = folder / "pictures" / "things" / label
        place.mkdir(parents=True)
        for seed in range(3):
            (place / f"{seed}.png").write_bytes(picture(seed))
    fixes = folder / "fixes" / "pictures" / "things.csv"
    fixes.parent.mkdir(parents=True)
    fixes.write_text("path,label\nb/0.png,a-long-name-of-a-class-that-goes-on-and-on\nb/1.png,\n")
    Check(Workshop(folder), "pictures/things").run()
    with running(folder) as studio:
        training = studio.queue.add(Wanted(run="a-rather-long-name-of-a-run-1", data="digits"))
        training.note("progress.json", {"stage": "training", "epoch": 1, "epochs": 3, "share": 0.2})
        training.end("failed", "The loss became nan at step 12. Try a smaller learning rate.")
        yield studio


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_fits_and_is_accessible_and_stays_at_home(
    browser: Any, filled: Running, theme: str
) -> None:
    context = browser.new_context(color_scheme=theme)
    tab = new_tab(context, filled.address)
    tab.open("")
    views = tab.page.locator("header [data-view]").evaluate_all(
        "(links) => links.map((link) => link.dataset.view)"
    )
    assert {"data", "network", "train", "teach", "try", "results"} <= set(views)
    for view in views:
        for width in WIDTHS if theme == "light" else WIDTHS[-1:]:
            tab.page.set_viewport_size({"width": width, "height": 900})
            tab.page.goto("about:blank")
            tab.open(f"#{view}")
            scrolled = tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert scrolled <= 0, (view, width)
        if AXE.is_file():
            assert serious(tab) == [], (theme, view)
    asked = {urlsplit(url).netloc for url in tab.asked if not url.startswith(("data:", "blob:"))}
    assert asked <= {urlsplit(filled.address).netloc, ""}
    context.close()
    assert tab.faults == []


def test_the_address_of_a_view_is_kept_and_back_goes_back(
    browser: Any, filled: Running, tmp_path: Path
) -> None:
    context = browser.new_context()
    tab = new_tab(context, filled.address)
    tab.open("#train")
    tab.page.click("header [data-view=network]")
    tab.settled()
    assert tab.page.url.endswith("#network")
    tab.page.go_back()
    tab.settled()
    assert tab.page.locator("#view-train").is_visible()
    assert tab.page.locator("#view-network").is_hidden()
    assert tab.page.title() == "Train – firstlight"
    tab.page.reload()
    tab.settled()
    assert tab.page.url.endswith("#train")
    context.close()
    assert tab.faults == []
