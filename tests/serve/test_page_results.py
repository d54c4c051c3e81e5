"""The page's results in a real browser, compared with the run's own files and arithmetic."""

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from tests.serve.conftest import Tab, evaluated_rows, new_tab
from tests.serve.running import running

import firstlight as fl
from firstlight.runs.folder import RunFolder, open_run_folder


def percents(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"([\d.]+)\s%", text)]


def test_a_cell_of_the_confusion_matrix_opens_the_pictures_behind_it(
    tab: Tab, second_run: fl.Run
) -> None:
    rows = evaluated_rows(second_run)
    truth, said = next((r["true"], r["predicted"]) for r in rows if r["true"] != r["predicted"])
    wanted = {int(r["image"]) for r in rows if (r["true"], r["predicted"]) == (truth, said)}
    tab.open("#results/digits-2")
    tab.page.click(f'[aria-label^="{truth} predicted as {said}:"]')
    tab.shows("#gallery-title", f"{truth} predicted as {said} by digits-2")
    tab.count("#gallery button:disabled", 0)

    labels = tab.page.locator("#gallery button").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert {int(label.split()[2].rstrip(":")) for label in labels} == wanted
    assert all(f"answer {said}, actually {truth}" in label for label in labels)


def test_a_picture_of_the_gallery_is_tried_when_it_is_chosen(tab: Tab) -> None:
    tab.open("#results/digits-2")
    first = tab.page.locator("#gallery button:enabled").first
    index = first.get_attribute("aria-label").split()[2].rstrip(":")
    first.click()
    tab.shows("#from", f"test image {index}")
    tab.settled()
    assert tab.page.url.endswith("#try/digits-2")


def test_the_worst_mistakes_begin_with_the_least_probable_truth(
    tab: Tab, second_run: fl.Run
) -> None:
    wrong = [r for r in evaluated_rows(second_run) if r["true"] != r["predicted"]]
    worst = min(wrong, key=lambda r: float(r[f"p_{r['true']}"]))
    tab.open("#results/digits-2")
    first = tab.page.locator("#gallery button").first.get_attribute("aria-label")
    assert first.startswith(f"Test image {worst['image']}: answer {worst['predicted']}")
    assert f"{len(wrong)} images" in tab.text("#gallery-says")


def test_an_answer_close_to_certain_fits_below_the_smallest_picture(tab: Tab) -> None:
    def nearly_certain(route: Any) -> None:
        answer = route.fetch()
        values = answer.json()
        for row in values["pictures"]:
            row["confidence"] = 0.9996
        route.fulfill(response=answer, json=values)

    tab.page.route("**/mistakes*", nearly_certain)
    tab.page.set_viewport_size({"width": 390, "height": 800})
    tab.open("#results/digits-2")
    tab.count("#gallery button:disabled", 0)

    shown = tab.page.locator("#gallery button span:last-child")
    assert shown.first.inner_text() == ">\u00a099.9\u00a0%"
    assert shown.evaluate_all("(all) => all.every((one) => one.scrollWidth <= one.clientWidth)")
    named = tab.page.locator("#gallery button").first.get_attribute("aria-label")
    assert named.endswith("more than 99.9\u00a0% confident")  # as a screen reader says it


def test_the_threshold_tells_what_share_is_answered_and_how_much_of_it_is_right(
    tab: Tab, second_run: fl.Run
) -> None:
    rows = evaluated_rows(second_run)
    sure = np.array([float(r["confidence"]) for r in rows])
    right = np.array([r["true"] == r["predicted"] for r in rows])
    tab.open("#results/digits-2")
    slider = tab.page.locator("#threshold")
    most = int(slider.get_attribute("max"))
    for place in (0, most // 3, most):
        slider.fill(str(place))
        threshold, coverage, accuracy = percents(tab.text("#threshold-says"))[:3]
        # The page shows rounded numbers, so the edge is within half a unit of the last digit.
        counts = {int((sure >= (threshold + nudge) / 100).sum()) for nudge in (-0.05, 0, 0.05)}
        count = min(counts, key=lambda n: abs(100 * n / len(rows) - coverage))
        assert 100 * count / len(rows) == pytest.approx(coverage, abs=0.0501)
        surest = np.argsort(-sure, kind="stable")[:count]
        assert 100 * right[surest].mean() == pytest.approx(accuracy, abs=0.00501)

    tab.page.click("#own")
    assert "threshold in use" in tab.text("#threshold-says")


def test_two_runs_stand_side_by_side_with_the_images_that_only_one_has_right(
    tab: Tab, digits_run: fl.Run, second_run: fl.Run
) -> None:
    first, second = evaluated_rows(digits_run), evaluated_rows(second_run)
    right = [[r["true"] == r["predicted"] for r in rows] for rows in (first, second)]
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (right, right[::-1])]
    p = binomtest(only[0], sum(only)).pvalue

    tab.open("#results/digits-1")
    tab.page.select_option("#other", "digits-2")
    tab.page.locator("#only button").nth(1).wait_for()
    tab.page.locator(".confusion").nth(1).wait_for()

    buttons = tab.page.locator("#only button").all_inner_texts()
    assert buttons == [
        f"{only[0]} that only digits-1 gets right",
        f"{only[1]} that only digits-2 gets right",
    ]
    said = tab.text("#compared")
    assert (
        "less than 0.1" in said
        if p < 0.001
        else percents(said) == [pytest.approx(100 * p, abs=0.05)]
    )
    accuracies = tab.page.locator("#figures > div").first.locator("dd > span").all_inner_texts()
    assert [percents(text)[0] for text in accuracies] == [
        pytest.approx(100 * np.mean(part), abs=0.005) for part in right
    ]
    tab.page.locator("#only button").first.click()
    tab.shows("#gallery-title", "Only digits-1 gets these right")
    # Their recipes differ in the epochs and the seed, as the two were trained.
    rows = tab.page.locator("#differ tbody tr").all_inner_texts()
    recipes = [open_run_folder(run.path).recipe().train for run in (digits_run, second_run)]
    assert [row.split() for row in rows] == [
        ["train.epochs", *(f"{train.epochs:.1f}" for train in recipes)],
        ["train.seed", *(str(train.seed) for train in recipes)],
    ]


def test_each_layer_has_lines_of_its_weights_gradients_and_steps(
    tab: Tab, digits_run: fl.Run
) -> None:
    with (digits_run.path / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["layer"] for row in rows))
    tab.open("#results/digits-1")
    tab.page.click("#sizes summary")
    table = tab.page.locator("#sizes-table tbody tr")
    assert table.locator("th").all_inner_texts() == names
    last = [row for row in rows if row["epoch"] == "6"]
    for line, row in zip(table.all(), last, strict=True):
        weights, gradients, change = line.locator("td span").all_inner_texts()
        assert float(weights) == pytest.approx(float(row["weights"]), rel=0.05, abs=0.001)
        assert float(gradients) == pytest.approx(float(row["gradients"]), rel=0.05, abs=0.001)
        share = float(change.removesuffix("\N{NO-BREAK SPACE}%")) / 100
        assert share == pytest.approx(float(row["update"]), rel=0.05, abs=1e-5)
    points = table.first.locator("polyline").first.get_attribute("points")
    assert len(points.split()) == 6


def test_a_run_that_was_not_measured_says_how_to_and_one_without_its_images_shows_the_rest(
    tab: Tab, digits_run: fl.Run
) -> None:
    tab.open("#results/stripes-1")
    assert "firstlight evaluate" in tab.text("#results-lead")
    assert tab.page.locator("#tested").is_hidden()
    assert tab.page.locator("#curves path").count() > 0
    tab.page.click("[data-view=try]")
    tab.shows("#strip-missing", "not on this machine")


@pytest.fixture
def unfinished(digits_run: fl.Run, tmp_path: Path) -> RunFolder:
    """Return the digits' run as it was after two of its six epochs."""
    folder = RunFolder(tmp_path / "digits-3")
    folder.path.mkdir()
    for name in ("recipe.toml", "data.json", "environment.json"):
        shutil.copy(digits_run.path / name, folder.path)
    lines = (digits_run.path / "epochs.csv").read_text().splitlines(keepends=True)
    folder.write("epochs.csv", "".join(lines[:3]))
    return folder


@pytest.fixture
def watched(browser: Any, unfinished: RunFolder) -> Iterator[Tab]:
    with running([unfinished]) as service:
        context = browser.new_context()
        yield (opened := new_tab(context, service.address))
        context.close()
        assert opened.faults == []


def test_the_curves_grow_while_the_run_trains_and_it_answers_once_it_is_finished(
    watched: Tab, unfinished: RunFolder, digits_run: fl.Run
) -> None:
    with unfinished.locked():  # as a process does that trains it
        watched.open("#results/digits-3")
        watched.shows("#results-lead", "2 of 6 epochs")
        assert watched.page.locator(".chart").first.locator("circle.a").count() == 2
        unfinished.write("epochs.csv", (digits_run.path / "epochs.csv").read_text())
        watched.shows("#results-lead", "6 of 6 epochs")
        assert watched.page.locator(".chart").first.locator("circle.a").count() == 6
        for name in ("model.safetensors", "summary.json"):
            shutil.copy(digits_run.path / name, unfinished.path)
    watched.shows("#results-lead", "not been evaluated")
    watched.page.click("[data-view=try]")
    watched.page.locator("#strip button").first.wait_for()
    watched.settled()
    assert watched.text("#answer") != "–"


def test_a_run_that_was_stopped_says_how_to_go_on(watched: Tab) -> None:
    watched.open("#results/digits-3")
    watched.shows("#results-lead", "firstlight train --resume")
    assert "2 of 6 epochs" in watched.text("#results-lead")
    watched.page.click("[data-view=try]")
    watched.shows("#not-ready", "not finished")
    assert watched.page.locator("#not-ready").is_visible()


def test_a_hundred_classes_have_a_list_in_place_of_a_table(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 100
    images = np.zeros((400, 12, 12, 3), np.uint8)
    images[:, :, :, 0] = (labels * 2)[:, None, None]
    images += rng.integers(0, 50, images.shape, dtype=np.uint8)
    names = [f"class number {n}" for n in range(100)]
    data = fl.from_images(images, [names[n] for n in labels])
    run = fl.train(data, epochs=1, out=tmp_path / "many-1", quiet=True)
    run.evaluate()
    rows = evaluated_rows(run)
    truth = rows[0]["true"], rows[0]["predicted"]

    with running([run]) as service:
        context = browser.new_context()
        tab = new_tab(context, service.address)
        tab.open("#results/many-1")
        assert tab.page.locator(".matrix").count() == 0
        tab.page.get_by_label("True class", exact=True).select_option(label=truth[0])
        tab.page.get_by_label("Answer", exact=True).select_option(label=truth[1])
        tab.page.get_by_role("button", name="Show", exact=True).click()
        tab.shows("#gallery-title", f"{truth[0]} predicted as {truth[1]}")
        context.close()
    assert tab.faults == []
