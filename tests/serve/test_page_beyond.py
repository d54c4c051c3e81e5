"""The page's views over many test images, and of a network without a map, in a real browser."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from tests.serve.conftest import Tab, new_tab
from tests.serve.running import running

import firstlight as fl
from firstlight.runs.folder import RunFolder
from firstlight.runtime import open_onnx

DEAD = 3


@pytest.fixture(scope="module")
def with_dead_map(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return the digits' run with one map so far below zero that its activation is never above."""
    path = tmp_path_factory.mktemp("dead") / "digits-dead"
    folder = RunFolder(shutil.copytree(digits_run.path, path))
    with safe_open(path / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["conv1.bias"][DEAD] = -1000.0
    save_file(tensors, path / "model.safetensors", metadata)
    return folder


def opened_map(tab: Tab, layer: int, channel: int) -> Any:
    """Open a map of the layer with this place on the page, by keys; return the layer."""
    card = tab.page.locator(".layer").nth(layer)
    card.locator(".maps").focus()
    for _ in range(channel):
        tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Enter")
    card.locator(".detail figure").first.wait_for()
    return card


def test_a_map_is_switched_off_and_the_answer_without_it_stands_beside_the_answer(
    tab: Tab, digits_run: fl.Run
) -> None:
    tab.open("#try/digits-1")
    tab.page.locator("#layers[aria-busy=false] .layer").first.wait_for()
    last = tab.page.locator(".layer").count() - 1
    best = int(tab.text("#bars .best .name"))
    card = opened_map(tab, last, best)
    with tab.page.expect_response(lambda response: "/api/without" in response.url) as told:
        card.get_by_label("Switch this map off").press("Space")
    found = told.value.json()
    card.locator(".changed li").first.wait_for()
    assert found["with"]["answer"] in card.locator(".whole").inner_text()
    assert found["without"]["answer"] in card.locator(".rest").inner_text()
    change = {
        k: abs(found["without"]["probabilities"][k] - v)
        for k, v in found["with"]["probabilities"].items()
    }
    wanted = sorted((k for k in change if change[k] >= 0.0005), key=lambda k: -change[k])[:5]
    assert card.locator(".changed .name").all_inner_texts() == wanted
    assert wanted[0] == str(best)
    assert "Morcos" in card.locator(".off").inner_text()

    tab.page.keyboard.press("Space")
    assert card.locator(".changed").count() == 0


def test_the_images_that_excite_a_map_are_framed_and_open_when_they_are_chosen(tab: Tab) -> None:
    tab.open("#try/digits-1")
    tab.page.locator("#layers[aria-busy=false] .layer").first.wait_for()
    with tab.page.expect_response(
        lambda response: "/exciting" in response.url and response.json()["state"] == "done"
    ) as told:
        card = opened_map(tab, 2, 1)
    pictures = told.value.json()["pictures"]
    tab.count(".excited button:enabled", len(pictures))
    labels = card.locator(".excited button").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert [label.partition(":")[0] for label in labels] == [
        f"Test image {one['index']}, {one['truth']}" for one in pictures
    ]
    top, left, bottom, right = pictures[0]["box"]
    # Both at one moment: the page may still be scrolling.
    image, frame = card.locator(".excited li:first-child").evaluate(
        "(item) => ['img', '.frame'].map((which) => item.querySelector(which)"
        ".getBoundingClientRect().toJSON())"
    )
    assert frame["y"] - image["y"] == pytest.approx(top / 8 * image["height"], abs=1)
    assert frame["x"] - image["x"] == pytest.approx(left / 8 * image["width"], abs=1)
    assert frame["width"] == pytest.approx((right - left) / 8 * image["width"], abs=1)
    assert frame["height"] == pytest.approx((bottom - top) / 8 * image["height"], abs=1)

    card.locator(".excited button").nth(2).click()
    tab.shows("#from", f"test image {pictures[2]['index']}")
    tab.settled()
    assert card.locator(".excited button").count() == len(pictures)


@pytest.fixture(scope="module")
def others(
    browser: Any,
    with_dead_map: RunFolder,
    digits_run: fl.Run,
    stripes_run: fl.Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Tab]:
    exported = digits_run.export(out=tmp_path_factory.mktemp("file") / "file.onnx").path
    with running([with_dead_map, stripes_run, open_onnx(exported)]) as service:
        context = browser.new_context(viewport={"width": 390, "height": 800})
        yield (opened := new_tab(context, service.address))
        context.close()
        assert opened.faults == []


def test_a_dead_map_is_named_on_its_layer_s_chart_and_opens(others: Tab) -> None:
    others.open("#try/digits-dead")
    others.page.locator("#layers[aria-busy=false] .layer").first.wait_for()
    others.page.locator("#activity summary").click()
    others.page.locator(".stub").first.wait_for()
    first = others.page.locator(".stub").first
    assert first.locator("rect.dead").count() == 1
    dead = first.locator("button")
    assert dead.all_inner_texts() == [str(DEAD)]
    assert f"{others.page.locator('.stub button').count()} of" in others.text("#activity-body")
    dead.click()
    others.shows(".detail figcaption", f"Map {DEAD}.")
    others.shows(".excited + p", "No test image excites it")


def test_without_test_images_the_rest_stays_and_of_an_exported_file_nothing_is_shown(
    others: Tab,
) -> None:
    others.open("#try/file")
    others.page.locator("#strip button").nth(1).click()
    others.shows("#from", "test image")
    assert not others.page.locator("#inside").is_visible()
    assert not others.page.locator("#notice").is_visible()
    assert not others.page.locator("#cam").is_visible()

    others.open("#try/stripes-1")
    others.page.evaluate("scrollTo(0, 0)")
    others.stroke((0.05, 0.45), (0.95, 0.45))
    others.page.locator("#layers[aria-busy=false] .layer").first.wait_for()
    card = opened_map(others, 2, 1)
    card.get_by_label("Switch this map off").check()
    others.shows(".rest", "Without it")
    assert not card.locator(".excited").is_visible()
    others.page.locator("#activity summary").click()
    others.shows("#notice", "are not on this machine")
    assert not others.page.locator("#activity").is_visible()
