"""The view "Train" in a real browser."""

import shutil
from typing import Any

import pytest
from tests.serve.conftest import Tab, new_tab
from tests.studio.conftest import Running, until

import firstlight as fl
from firstlight.studio.trainings import Wanted

pytestmark = pytest.mark.usefixtures("warm")


def test_a_learner_trains_and_tries_a_network_without_a_terminal(tab: Tab, studio: Running) -> None:
    tab.open("#train")
    assert tab.text("#folder") == str(studio.folder)
    tab.page.select_option("#train-data", "digits")
    tab.page.locator("#train-time").press("ArrowRight")
    tab.shows("#train-time-says", "about 10 s")
    tab.page.fill("#train-name", "my-digits")
    tab.page.click("#train-go")
    tab.shows("#now-title", "my-digits is training")
    tab.shows("#now-says", "images per second")
    tab.shows("#now-curves", "Accuracy")
    tab.count("#now-strip li", 10)
    tab.shows("#now-title", "my-digits finished")
    answered = (studio.folder / "runs/my-digits/predictions.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in answered]
    right = sum(row[1] == row[2] for row in rows)
    tab.shows("#now-says", f"{right / len(rows):.2%}".replace("%", "\u00a0%"))
    tab.shows("#now-says", f"of {len(rows)} test images right")
    wrong = tab.page.locator("#now-strip .wrong").count()
    assert wrong <= 2  # of a training of ten seconds, on a busy machine too
    assert f"{10 - wrong} of 10 right" in tab.text("#now-look-says")
    # Before the first step it guesses.
    tab.page.locator("#now-look").press("Home")
    assert "after 0 images" in tab.text("#now-look-says")
    assert tab.page.locator("#now-strip .wrong").count() >= 5
    tab.page.click("#trainings a:has-text('Results')")
    tab.settled()
    assert tab.page.url.endswith("#results/my-digits")
    assert "Test accuracy" in tab.text("#figures")
    assert "%" in tab.text("#figures")


def test_a_reload_and_another_browser_find_the_queue_and_its_order(
    browser: Any, tab: Tab, studio: Running
) -> None:
    tab.open("#train")
    tab.page.select_option("#train-data", "digits")
    for name in ("one", "two", "three"):
        tab.page.fill("#train-name", name)
        tab.page.click("#train-go")
        tab.shows("#trainings", name)
    tab.shows("#now-title", "three waits")
    tab.page.click("#trainings button[aria-label='Remove three']")
    tab.count("#trainings li", 2)
    tab.page.reload()
    tab.count("#trainings li", 2)
    context = browser.new_context()
    other = new_tab(context, studio.address)
    other.open("#train")
    other.count("#trainings li", 2)
    other.page.click("#trainings button[aria-label='Show one']")
    other.shows("#now-says", "images per second")
    other.page.click("#trainings button[aria-label='Stop one']")
    tab.shows("#trainings li", "digits stopped")
    tab.page.click("#trainings button[aria-label='Resume one']")
    until(lambda: studio.queue.all()[0].state != "stopped")
    assert [one.wanted.run for one in studio.queue.all()] == ["one", "two"]
    for one in studio.queue.all():
        one.stop()
    ended = ("stopped", "finished")
    until(lambda: all(one.state in ended for one in studio.queue.all()))
    context.close()
    assert other.faults == []


def test_what_cannot_be_trained_says_why(tab: Tab, studio: Running) -> None:
    tab.open("#train")
    tab.page.select_option("#train-data", "digits")
    tab.page.fill("#train-name", "same")
    tab.page.click("#train-go")
    tab.shows("#trainings", "same")
    tab.page.fill("#train-name", "same")
    tab.page.click("#train-go")
    tab.shows("#notice", "Choose another name")
    assert [one.wanted.run for one in studio.queue.all()] == ["same"]
    (training,) = studio.queue.all()
    training.stop()
    until(lambda: training.state in ("stopped", "finished"))


def test_a_run_that_was_deleted_is_not_taken_for_another(
    tab: Tab, studio: Running, digits_run: fl.Run
) -> None:
    shutil.copytree(digits_run.path, studio.folder / "runs" / "digits-1")
    training = studio.queue.add(Wanted(run="old", data="digits"))
    training.end("finished")
    tab.open("#results/old")
    # The first image is answered behind the view, and takes nothing away.
    tab.page.locator("#from", has_text="test image").wait_for(state="attached")
    assert "no run “old” here" in tab.text("#notice")
    tab.open("#train")
    tab.shows("#trainings li", "Its run folder is gone")
    assert tab.page.locator("#trainings a").count() == 0
