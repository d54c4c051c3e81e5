"""The map of the test images in a real browser: points, pictures and the confusion matrix."""

from typing import Any

import pytest
from tests.serve.conftest import Tab, evaluated_rows

import firstlight as fl


@pytest.fixture
def shown(tab: Tab) -> tuple[Tab, list[dict[str, Any]]]:
    """Open the results of the second run, whose map is there; return the tab and the points."""
    with tab.page.expect_response(
        lambda response: "/plane?way=" in response.url and response.json()["state"] == "done"
    ) as told:
        tab.open("#results/digits-2")
        tab.page.locator("#plane-card").scroll_into_view_if_needed()
    tab.page.locator("#plane-legend button").first.wait_for()
    return tab, told.value.json()["points"]


def places(tab: Tab, points: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return where each point is on the screen: both axes have one scale, y goes up."""
    tab.page.locator("#plane").scroll_into_view_if_needed()
    box = tab.page.locator("#plane").bounding_box()
    xs, ys = ([one[axis] for one in points] for axis in "xy")
    scale = min(
        (box["width"] - 28) / (max(xs) - min(xs)), (box["height"] - 28) / (max(ys) - min(ys))
    )
    middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [
        (
            box["x"] + box["width"] / 2 + (x - middle[0]) * scale,
            box["y"] + box["height"] / 2 - (y - middle[1]) * scale,
        )
        for x, y in zip(xs, ys, strict=True)
    ]


def numbers(tab: Tab) -> list[int]:
    """Return the numbers of the test images in the gallery."""
    labels = tab.page.locator("#gallery button").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )
    return [int(label.split()[2].rstrip(":")) for label in labels]


def test_a_rectangle_around_points_opens_their_pictures(
    shown: tuple[Tab, list[dict[str, Any]]],
) -> None:
    tab, points = shown
    at = places(tab, points)
    left = sorted(x for x, _ in at)[20] + 0.5
    top, bottom = min(y for _, y in at) - 5, max(y for _, y in at) + 5
    inside = {one["index"] for one, (x, _) in zip(points, at, strict=True) if x <= left}
    tab.page.mouse.move(min(x for x, _ in at) - 5, top)
    tab.page.mouse.down()
    tab.page.mouse.move(left, bottom, steps=4)
    tab.page.mouse.up()
    tab.shows("#gallery-title", f"{len(inside)} images of the map")
    tab.count("#gallery button", len(inside))
    assert {*numbers(tab)} == inside
    wrong = [one["index"] for one in points if one["index"] in inside and not one["right"]]
    assert {*numbers(tab)[: len(wrong)]} == {*wrong}
    assert f"{len(inside)} of 360 images" in tab.text("#plane-lit")

    tab.page.click("#plane-all")
    assert "360 images" in tab.text("#plane-lit")


def test_a_point_shows_its_picture_and_opens_those_around_it_also_by_keys(
    shown: tuple[Tab, list[dict[str, Any]]],
) -> None:
    tab, points = shown
    at = places(tab, points)
    # The leftmost, so that no other is as near.
    first = min(range(len(at)), key=lambda i: at[i][0])
    tab.page.mouse.move(*at[first])
    tab.shows("#plane-at", f"Test image {points[first]['index']}:")
    tab.page.locator("#plane-thumbnail:visible").wait_for()
    tab.page.mouse.down()
    tab.page.mouse.up()
    tab.shows("#gallery-title", f"Around test image {points[first]['index']}")
    tab.count("#gallery button", 12)
    far = sorted(
        range(len(at)),
        key=lambda i: (at[i][0] - at[first][0]) ** 2 + (at[i][1] - at[first][1]) ** 2,
    )
    assert set(numbers(tab)) == {points[i]["index"] for i in far[:12]}

    tab.page.keyboard.press("Escape")
    tab.page.mouse.move(0, 0)
    tab.page.focus("#plane")
    tab.page.keyboard.press("ArrowRight")
    tab.shows("#plane-at", f"Test image {points[0]['index']}:")
    tab.page.keyboard.press("ArrowLeft")
    assert not tab.text("#plane-at").startswith(f"Test image {points[0]['index']}:")
    tab.page.keyboard.press("Enter")
    tab.shows("#gallery-title", "Around test image")


def test_a_class_of_the_legend_and_a_cell_of_the_matrix_light_their_points(
    shown: tuple[Tab, list[dict[str, Any]]], second_run: fl.Run
) -> None:
    tab, _ = shown
    rows = evaluated_rows(second_run)
    pixels = (
        "() => { const c = document.getElementById('plane');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".reduce((sum, value, at) => sum + (at % 4 === 3 ? value : 0), 0); }"
    )
    before = tab.page.evaluate(pixels)
    fours = sum(row["true"] == "4" for row in rows)
    button = tab.page.locator("#plane-legend button", has_text="4").first
    button.click()
    assert f"{fours} of 360 images, of 4" in tab.text("#plane-lit")
    assert button.get_attribute("aria-pressed") == "true"
    assert tab.page.evaluate(pixels) < 0.6 * before  # the others are faint

    wrong = next(row for row in rows if row["true"] != row["predicted"])
    truth, said = wrong["true"], wrong["predicted"]
    count = sum((row["true"], row["predicted"]) == (truth, said) for row in rows)
    tab.page.click(f'[aria-label^="{truth} predicted as {said}:"]')
    tab.shows("#plane-lit", f"{count} of 360 images, {truth} predicted as {said}")
    assert button.get_attribute("aria-pressed") == "false"

    tab.page.select_option("#plane-colour", "right")
    all_wrong = sum(row["true"] != row["predicted"] for row in rows)
    tab.page.locator("#plane-legend button", has_text="wrong answers").click()
    assert f"{all_wrong} of 360 images, with a wrong answer" in tab.text("#plane-lit")


def test_tsne_arranges_the_same_images_when_it_is_asked_for(
    shown: tuple[Tab, list[dict[str, Any]]],
) -> None:
    tab, points = shown
    with tab.page.expect_response(
        lambda response: "way=tsne" in response.url and response.json()["state"] == "done"
    ) as told:
        tab.page.select_option("#plane-way", "tsne")
    tab.shows("#plane-says", "van der Maaten and Hinton")
    assert [one["index"] for one in told.value.json()["points"]] == [p["index"] for p in points]
    tab.page.select_option("#plane-way", "pca")
    tab.shows("#plane-says", "Pearson")
