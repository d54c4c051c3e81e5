"""Every kind of page in a real browser: its policy forbids nothing that it needs."""

import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.conftest import browser  # noqa: F401 (a fixture)

import firstlight as fl
from firstlight.report.map import legend, map_of_pictures
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.runs.folder import RunFolder
from firstlight.verbs.check import check_pictures, write_page
from firstlight.verbs.compare import compare

TURNED = "חתול"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, digits_run: fl.Run) -> dict[str, Path]:
    """Return a report, a comparison and a data check."""
    root = tmp_path_factory.mktemp("pages")
    shutil.copytree(digits_run.path, root / "digits-2")
    folders = [RunFolder(digits_run.path), RunFolder(root / "digits-2")]
    found = {"report": digits_run.path / "report.html"}
    found["comparison"] = compare(folders, root / "comparison.html")
    for label in (TURNED, "b"):
        (root / "own" / label).mkdir(parents=True)
        for number in range(12):
            image = Image.new("L", (28, 28), 20 * number + (label == "b"))
            image.save(root / "own" / label / f"{number}.png")
    write_page(check_pictures(root / "own"), root / "own", root / "check.html")
    found["check"] = root / "check.html"
    return found


@pytest.mark.parametrize("which", ["report", "comparison", "check"])
def test_the_policy_forbids_nothing_that_a_page_needs(
    browser: Any,  # noqa: F811
    pages: dict[str, Path],
    which: str,
) -> None:
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(pages[which].as_uri())
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).fontFamily").startswith(
        "system-ui"
    )
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every((d) => d.open)")
    assert said == []
    page.close()


def test_the_policy_stops_what_somebody_else_puts_in(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    text = render(Page(title="t", lead="l"))
    away = socket.create_server(("127.0.0.1", 0))
    away.setblocking(False)
    address = f"http://127.0.0.1:{away.getsockname()[1]}/a.png"
    put_in = "".join(
        [
            "<script>document.title = 'owned'</script>",
            "<img src='x' onerror=\"document.title = 'owned'\">",
            f"<img src='{address}'>",
            "<style>main { color: red }</style>",
        ]
    )
    (tmp_path / "p.html").write_text(text.replace("<main>", f"<main>{put_in}"))
    page = browser.new_page()
    page.goto((tmp_path / "p.html").as_uri())
    assert page.title() == "t · firstlight"
    assert (
        page.evaluate("getComputedStyle(document.querySelector('main')).color") != "rgb(255, 0, 0)"
    )
    with away, pytest.raises(BlockingIOError):  # no connection came
        away.accept()
    page.close()


def test_a_name_from_right_to_left_turns_nothing_around_beside_it(
    browser: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    sentence = Section(title="s", text=f"{TURNED}, 3 times")
    table = Section(title="t", table=Table(head=["class"], rows=[[f"{TURNED} 3"]]))
    (tmp_path / "p.html").write_text(render(Page(title="t", lead="l", sections=[sentence, table])))
    page = browser.new_page()
    page.goto((tmp_path / "p.html").as_uri())
    place = """(selector) => {
        const walk = document.createTreeWalker(document.querySelector(selector), 4);
        const found = {};
        while (walk.nextNode())
            [...walk.currentNode.data].forEach((sign, at) => {
                const range = document.createRange();
                range.setStart(walk.currentNode, at);
                range.setEnd(walk.currentNode, at + 1);
                found[sign] = range.getBoundingClientRect().left;
            });
        return found;
    }"""
    told = page.evaluate(place, "section p")
    assert told[TURNED[-1]] < told[TURNED[0]] < told[","] < told["3"] < told["s"]
    named = page.evaluate(place, "td")
    assert named["3"] < named[TURNED[-1]] < named[TURNED[0]]
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_map_can_be_read_on_any_screen(
    browser: Any,  # noqa: F811
    tmp_path: Path,
    theme: str,
    width: int,
) -> None:
    names = ("cats", "dogs", "a class with quite a long name", TURNED, *"efgh")
    drawn = map_of_pictures(
        [np.full((8, 8, 3), 200, np.uint8)] * 8,
        np.arange(16, dtype=np.float64).reshape(8, 2),
        np.arange(8),
        len(names),
        np.arange(8) == 3,
    )
    section = Section(
        title="The map",
        legend=legend(names),
        pictures=[Shown(png=drawn.png(), alt="a map", wide=True)],
    )
    (tmp_path / "map.html").write_text(render(Page(title="t", lead="l", sections=[section])))
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 800})
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "map.html").as_uri())

    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("img").bounding_box()["width"] >= 800
    words = page.locator(".legend li")
    assert [text.strip() for text in words.all_inner_texts()] == list(names)
    for at in range(len(names)):
        box = words.nth(at).bounding_box()
        assert box["height"] >= 16 and box["x"] + box["width"] <= width
        colour = words.nth(at).locator("rect").evaluate("(r) => getComputedStyle(r).fill")
        wanted = tuple(int(legend(names)[names[at]][i : i + 2], 16) for i in (1, 3, 5))
        assert colour == f"rgb{wanted}"
    assert said == []
    context.close()


def test_on_a_phone_nothing_is_wider_than_the_page_and_charts_keep_their_letters(
    browser: Any,  # noqa: F811
    pages: dict[str, Path],
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(pages["report"].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    widths = page.evaluate(
        "[...document.querySelectorAll('.chart img')].map((i) => [i.width, i.naturalWidth])"
    )
    # Letters of 11 points at 110 pixels per inch are 17 pixels high; at half that size, still 8.
    assert widths and all(width >= natural / 2 for width, natural in widths)
    heights = page.evaluate(
        "[...document.querySelectorAll('section td')].map((cell) => cell.clientHeight)"
    )
    assert heights and len(set(heights)) == 1, "no cell breaks its number from its unit"
    page.close()


def test_headline_figures_fill_their_rows(
    browser: Any,  # noqa: F811
    pages: dict[str, Path],
) -> None:
    for width, columns in ((1280, 4), (390, 2)):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(pages["report"].as_uri())
        tops = page.evaluate(
            "[...document.querySelectorAll('.figures > div')].map((d) => d.offsetTop)"
        )
        assert [tops.count(top) for top in sorted(set(tops))] == [columns] * (8 // columns)
        page.close()
