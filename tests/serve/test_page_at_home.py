"""The page stays on this machine, recovers after a restart, and is accessible."""

import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.serve.conftest import Tab, new_tab
from tests.serve.running import Running, running

import firstlight as fl

AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
"""Installed by the Makefile."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_nothing_is_asked_of_any_other_host(tab: Tab, served: Running) -> None:
    for place in ("#try/digits-1", "#results/digits-1", "api.html"):
        tab.page.goto(f"{tab.address}/{place}")
        tab.page.wait_for_load_state("networkidle")
    own = urlsplit(served.address).netloc
    asked = {urlsplit(url).netloc for url in tab.asked if not url.startswith(("data:", "blob:"))}
    assert asked == {own}
    assert len(tab.asked) > 20


def test_two_tabs_show_two_runs_at_once(browser: Any, served: Running) -> None:
    context = browser.new_context()
    one, other = (new_tab(context, served.address) for _ in range(2))
    one.open("#try/stripes-1")
    other.open("#try/digits-1")
    one.stroke((0.05, 0.45), (0.95, 0.45))
    one.shows("#answer", "row")
    other.page.locator("#strip button").nth(4).click()
    other.settled()
    assert one.text("#answer") == "row"
    assert one.page.locator("#bars li").count() == 2
    assert other.page.locator("#bars li").count() == 10
    context.close()
    assert one.faults + other.faults == []


def test_reloading_shows_the_same_run_and_view(tab: Tab) -> None:
    tab.open("#results/digits-2")
    before = tab.text("#figures")
    tab.page.reload()
    tab.settled()
    assert tab.page.url.endswith("#results/digits-2")
    assert tab.text("#figures") == before


def test_when_the_service_is_restarted_the_page_goes_on_and_keeps_the_drawing(
    browser: Any, stripes_run: fl.Run, digits_run: fl.Run
) -> None:
    port = free_port()
    context = browser.new_context()
    tab = new_tab(context, f"http://127.0.0.1:{port}")
    with running([stripes_run], port=port):
        tab.open()
        tab.stroke((0.05, 0.45), (0.95, 0.45))
        tab.shows("#answer", "row")
        tab.settled()

    tab.stroke((0.45, 0.05), (0.45, 0.95))
    tab.shows("#notice", "does not respond")
    tab.page.click("#undo")
    with running([digits_run, stripes_run], port=port):
        tab.page.locator("#notice").wait_for(state="hidden")
        tab.settled()
        assert tab.text("#answer") == "row"
        assert tab.page.input_value("#run") == "stripes-1"
        tab.page.locator("#run option").nth(1).wait_for(state="attached")
        assert tab.page.locator("#run option").count() == 2
    context.close()
    assert tab.faults == []


def test_a_token_in_the_address_opens_the_page_and_leaves_the_address(
    browser: Any, digits_run: fl.Run
) -> None:
    token = "a-token-of-some-length"
    with running([digits_run], token=token) as service:
        context = browser.new_context()
        tab = new_tab(context, service.address)
        tab.open(f"#token={token}")
        assert token not in tab.page.url
        assert tab.text("#answer") != "–"
        tab.page.reload()
        tab.settled()
        assert tab.text("#answer") != "–"
        context.close()

        context = browser.new_context()
        tab = new_tab(context, service.address)
        tab.page.goto(service.address)
        tab.page.locator("#door").wait_for()
        tab.page.fill("#token", "not-the-right-one")
        tab.page.click("#door button")
        tab.page.locator("#door").wait_for()
        tab.page.fill("#token", token)
        tab.page.click("#door button")
        tab.page.locator("#door").wait_for(state="hidden")
        tab.settled()
        assert tab.text("#answer") != "–"
        context.close()
    assert tab.faults == []


def test_the_interface_is_shown_route_by_route_from_the_service_itself(
    tab: Tab, served: Running
) -> None:
    tab.page.goto(f"{tab.address}/api.html")
    tab.page.locator("#routes[aria-busy=false]").wait_for()
    with served.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    wanted = {(m.upper(), path) for path, methods in paths.items() for m in methods}
    shown = tab.page.locator("summary").evaluate_all(
        "(all) => all.map((one) => [one.children[0].textContent, one.children[1].textContent])"
    )
    assert {tuple(one) for one in shown} == wanted


def test_on_a_phone_the_answer_is_in_sight_while_one_draws(browser: Any, served: Running) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780})
    tab = new_tab(context, served.address)
    tab.open()
    tab.stroke((0.5, 0.1), (0.5, 0.9))
    tab.settled()
    tab.page.evaluate("scrollTo(0, 0)")
    shown, paper = (tab.page.locator(one).bounding_box() for one in ("#answer-now", "#paper"))
    assert shown["y"] + shown["height"] <= 780
    assert shown["y"] >= paper["y"] + paper["height"], "it covers nothing of the canvas"
    assert tab.page.inner_text("#answer-now") == tab.page.inner_text("#answer") != "–"
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()
    assert tab.faults == []


def test_nothing_jumps_while_the_page_fills(browser: Any, served: Running) -> None:
    for width in (360, 800, 1400):
        context = browser.new_context(viewport={"width": width, "height": 900})
        tab = new_tab(context, served.address)
        tab.page.add_init_script(
            "window.moved = []; new PerformanceObserver((list) => {"
            "for (const entry of list.getEntries()) moved.push(entry.value) })"
            ".observe({ type: 'layout-shift', buffered: true })"
        )
        for view in ("try", "results"):
            tab.open(f"#{view}/digits-1")
            moved = tab.page.evaluate("moved.reduce((a, b) => a + b, 0)")
            assert moved < 0.1, (width, view)  # "good", as web.dev/articles/cls has it
            scrolled = tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert scrolled <= 0, (width, view)
            tab.page.goto("about:blank")
        context.close()


def serious(tab: Tab) -> list[tuple[str, list[str]]]:
    """Return what axe finds serious in a page: the rule, and the elements."""
    tab.page.evaluate(AXE.read_text())
    # What passes is counted alone: to describe each element that does takes longer than to check.
    passes, violations = tab.page.evaluate(
        "axe.run({ resultTypes: ['violations'] })"
        ".then((found) => [found.passes.length, found.violations])"
    )
    assert passes > 10, "axe looked at nothing"
    return [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, served: Running, theme: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not on this machine: make test fetches it with npm, where that is")
    context = browser.new_context(color_scheme=theme)
    tab = new_tab(context, served.address)
    for place in ("#try/digits-1", "#results/digits-1", "#try/stripes-1", "api.html"):
        tab.page.goto("about:blank")
        tab.page.goto(f"{served.address}/{place}")
        if place == "api.html":
            tab.page.locator("#routes[aria-busy=false]").wait_for()
            tab.page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        else:
            tab.settled()
        if place == "#try/digits-1":
            tab.page.locator(".maps").first.click(position={"x": 10, "y": 10})
            tab.page.locator(".detail figure").first.wait_for()
        if place == "#results/digits-1":
            tab.page.select_option("#other", "digits-2")
            tab.page.locator(".confusion").nth(1).wait_for()
        assert serious(tab) == [], (theme, place)
    context.close()
