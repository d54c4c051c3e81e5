"""The view "Data" in a real browser."""

from pathlib import Path
from typing import Any

import pytest
from tests.serve.conftest import Tab
from tests.studio.conftest import Running
from tests.studio.test_collected import files, picture
from tests.studio.test_data import shades

from firstlight.data.fixes import Fixes, read_fixes

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for label, seeds in (("cat", range(30)), ("dog", (*range(30, 58), 0, 1))):
        folder = tmp_path / "pictures" / "pets" / label
        folder.mkdir(parents=True)
        for at, seed in enumerate(seeds):
            (folder / f"{at:02}.png").write_bytes(picture(seed))
    return tmp_path / "pictures" / "pets"


def shown(tab: Tab) -> Any:
    return tab.page.locator("#data-grid li").evaluate_all(
        "(all) => all.map((li) => li.dataset.name)"
    )


def test_a_wrong_label_is_found_and_corrected_with_the_keyboard_alone(
    tab: Tab, studio: Running, pets: Path
) -> None:
    before = files(pets)
    tab.open("#data/pictures%2Fpets")
    tab.shows("#data-says", "60 pictures in 2 classes.")
    tab.shows("#data-page", "60 pictures, page 1 of 2")
    tab.page.click("#data-next")
    tab.shows("#data-page", "page 2 of 2")
    assert len(shown(tab)) == 12

    tab.page.focus("#data-check-go")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_label("Show: two classes").wait_for(timeout=120_000)
    tab.page.get_by_label("Show: two classes").focus()
    tab.page.keyboard.press("Enter")
    tab.shows("#data-page", "4 pictures, page 1 of 1")
    assert shown(tab) == ["cat/00.png", "cat/01.png", "dog/28.png", "dog/29.png"]

    # To the third picture with the arrow keys; choose it; move it.
    tab.page.locator("#data-grid button").first.focus()
    for key in ("ArrowRight", "ArrowRight", " "):
        tab.page.keyboard.press(key)
    tab.shows("#data-chosen", "1 selected")
    tab.page.focus("#data-to")
    tab.page.keyboard.press("c")
    tab.page.keyboard.press("Enter")
    tab.shows("#data-grid b", "dog → cat")
    tab.page.get_by_label("dog/29.png").click()
    tab.page.click("#data-out")
    tab.shows("#data-says", "Corrected: 1 left out, 1 moved, in fixes/pictures/pets.csv")
    file = studio.folder / "fixes" / "pictures" / "pets.csv"
    assert read_fixes(file) == Fixes(left_out=("dog/29.png",), relabelled={"dog/28.png": "cat"})
    assert files(pets) == before

    # A reload finds it; it can be taken back; training on it is one step away.
    tab.page.reload()
    tab.settled()
    tab.page.select_option("#data-only", "fixed")
    tab.shows("#data-page", "2 pictures")
    tab.page.get_by_label("dog/29.png").click()
    tab.page.click("#data-back")
    tab.shows("#data-page", "1 picture,")
    tab.page.click("#data-train")
    tab.shows("#train-says", "60 images in 2 classes.")
    assert tab.page.locator("#train-data").input_value() == "pictures/pets"


def test_wrong_labels_are_found_if_asked_for(tab: Tab, studio: Running) -> None:
    shades(studio.folder / "pictures" / "shades")
    tab.open("#data/pictures%2Fshades")
    tab.page.get_by_label("also look for wrong labels").check()
    tab.page.click("#data-check-go")
    tab.page.get_by_label("Show: doubtful label").click(timeout=120_000)
    tab.shows("#data-page", "2 pictures, page 1 of 1")
    told = tab.page.locator("#data-grid li").all_inner_texts()
    assert [text.split() for text in told] == [
        ["dark?", "like", "light"],
        ["light?", "like", "dark"],
    ]
    assert tab.page.get_by_label("Leave out: doubtful label").count() == 0


def test_a_picture_that_cannot_be_read_says_so(tab: Tab, pets: Path) -> None:
    whole = (pets / "cat/03.png").read_bytes()
    (pets / "cat/03.png").write_bytes(whole[: len(whole) // 2])
    tab.open("#data/pictures%2Fpets")
    tab.shows("#data-grid button[aria-label^='cat/03.png'] .missing", "cannot be read")
    assert tab.page.locator("#data-grid .missing").count() == 1


def test_a_set_is_chosen_by_its_pictures_or_with_the_arrow_keys(
    tab: Tab, studio: Running, pets: Path
) -> None:
    (studio.folder / "pictures/empty").mkdir()
    tab.open("#data/digits")
    tab.shows("#data-says", "1,797 pictures in 10 classes.")
    card = tab.page.locator(".set", has_text="pets")
    assert "60 pictures, 2 classes" in card.inner_text()
    strip = card.locator("img[src]")
    strip.wait_for()
    assert strip.evaluate(
        "(img) => img.decode().then(() => [img.naturalWidth, img.naturalHeight])"
    ) == [512, 64]
    empty = tab.page.locator(".set", has_text="empty")
    assert "No pictures yet" in empty.inner_text()
    assert empty.locator("input").is_disabled()
    assert "firstlight data fetch " in tab.text("#data-missing")
    strip.click(force=True)  # the radio button lies over the whole card
    tab.shows("#data-says", "60 pictures in 2 classes.")
    assert tab.page.url.endswith("#data/pictures%2Fpets")
    # The arrow key goes over the empty set to the first named one that is here.
    card.locator("input").press("ArrowRight")
    tab.page.locator("#data-says", has_text="10 classes").wait_for()
    assert tab.page.locator(".set input:checked").get_attribute("value") != "pictures/pets"


def test_a_named_set_is_looked_through_by_class_and_name(tab: Tab) -> None:
    tab.open("#data/digits")
    tab.shows("#data-says", "1,797 pictures in 10 classes.")
    tab.page.select_option("#data-class", "7")
    tab.page.fill("#data-text", "test/")
    tab.page.locator("#data-page", has_text="36 pictures").wait_for()
    assert set(tab.page.locator("#data-grid b").all_inner_texts()) == {"7"}
    assert all(name.startswith("test/") for name in shown(tab))
    assert tab.page.locator("#data-check").is_hidden()
    assert tab.page.locator("#data-act").is_hidden()
