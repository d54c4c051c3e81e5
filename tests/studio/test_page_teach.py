"""The view "Teach" in a real browser, with a recorded video as its camera."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.serve.conftest import Tab, chromium
from tests.studio.conftest import Running
from tests.studio.test_collected import files, picture

pytestmark = pytest.mark.usefixtures("warm")

TRAINED = 300_000
"""Milliseconds for a training on a machine that does other work, too."""
SCENES = {"red ball": (220, 60, 40), "blue box": (40, 80, 220)}


def recorded(scene: str) -> bytes:
    """Return five seconds of a shape that moves before noise, as an MJPEG file."""
    rng, video = np.random.default_rng(0), io.BytesIO()
    for at in range(150):
        noise_HWC = rng.integers(90, 140, (24, 32, 3), dtype=np.uint8)
        frame = Image.fromarray(noise_HWC).resize((320, 240))
        x, y = 160 + 70 * np.cos(at / 11), 120 + 60 * np.sin(at / 17)
        draw = ImageDraw.Draw(frame)
        shape = draw.ellipse if scene == "red ball" else draw.rectangle
        shape((x - 40, y - 40, x + 40, y + 40), fill=SCENES[scene])
        frame.save(video, "JPEG")
    return video.getvalue()


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video that the camera shows when it is started the next time."""
    file = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    file.write_bytes(recorded("red ball"))
    return file


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Any]:
    with chromium(f"--use-file-for-fake-video-capture={camera}") as started:
        yield started


def counted(tab: Tab, label: str) -> int:
    card = tab.page.locator(".class", has=tab.page.get_by_label(f"Hold to record {label}"))
    return int(card.locator(".numbers").inner_text().split()[0])


def new_class(tab: Tab, label: str) -> None:
    tab.page.fill("#teach-class", label)
    tab.page.press("#teach-class", "Enter")
    tab.page.get_by_label(f"Hold to record {label}").wait_for()


def answers(tab: Tab, label: str) -> None:
    """Wait for this live answer."""
    from playwright.sync_api import expect

    expect(tab.page.locator("#live-answer")).to_have_text(label, timeout=TRAINED)


def test_two_things_shown_to_the_camera_are_told_apart_right_after_training(
    tab: Tab, studio: Running, camera: Path
) -> None:
    tab.open("#teach")
    tab.page.fill("#teach-name", "toys")
    for label in SCENES:
        new_class(tab, label)
        camera.write_bytes(recorded(label))
        tab.page.click("#teach-camera")
        button = tab.page.get_by_label(f"Hold to record {label}")
        button.hover()
        tab.page.mouse.down()
        tab.page.wait_for_function(
            "label => parseInt([...document.querySelectorAll('.class')].find("
            "card => card.querySelector('.class-name').value === label)"
            ".querySelector('.numbers').textContent) >= 40",
            arg=label,
        )
        tab.page.mouse.up()
        tab.page.click("#teach-camera")
    assert len(files(studio.folder / "pictures" / "toys")) >= 80

    tab.page.click("#teach-camera")
    tab.page.click("#teach-train")
    answers(tab, "blue box")
    assert tab.page.locator("#live-bars .best .name").inner_text() == "blue box"
    tab.page.click("#teach-camera")
    camera.write_bytes(recorded("red ball"))
    tab.page.click("#teach-camera")
    answers(tab, "red ball")

    assert "test pictures" in tab.text("#teach-advice")
    assert tab.text("#teach-run") == "runs/toys-1"
    assert (studio.folder / "runs" / "toys-1" / "metrics.json").is_file()
    assert {one.partition("?")[0].rpartition(":")[0] for one in tab.asked} <= {
        "http://127.0.0.1",
        "blob:http://127.0.0.1",
    }
    # A reload finds the set and what was trained on it.
    tab.page.reload()
    tab.shows("#teach-done", "runs/toys-1")
    assert tab.page.url.endswith("#teach/toys")
    assert min(counted(tab, label) for label in SCENES) >= 40


def test_a_screen_reader_a_tap_and_a_key_each_take_one_picture(tab: Tab, studio: Running) -> None:
    tab.open("#teach")
    new_class(tab, "thing")
    button = tab.page.get_by_label("Hold to record thing")
    card = tab.page.locator(".class")
    tab.page.click("#teach-camera")
    tab.page.wait_for_function("() => document.querySelector('#teach-video').readyState > 1")
    presses = (
        lambda: button.evaluate("one => one.click()"),
        button.click,
        lambda: button.press(" "),
    )
    for number, press in enumerate(presses, 1):
        press()
        card.locator(".numbers", has_text=f"{number} picture").wait_for()
    assert len(files(studio.folder / "pictures" / "things" / "thing")) == 3


def test_a_folder_of_class_folders_becomes_a_set_that_can_be_mended(
    tab: Tab, studio: Running, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    for label, seeds in (("cat", range(3)), ("dog", range(3, 5)), ("train", range(5, 6))):
        (given / label).mkdir(parents=True)
        for seed in seeds:
            (given / label / f"{seed}.png").write_bytes(picture(seed))
    (given / "dog" / "notes.txt").write_text("no picture")
    (given / "dog" / ".hidden.png").write_bytes(picture(9))
    tab.open("#teach")
    tab.page.set_input_files("#teach-folder", given)
    tab.shows("#teach-sent", "6 of 6 files sent.")
    tab.shows("#teach-sent", "notes.txt: ")
    assert (counted(tab, "cat"), counted(tab, "dog")) == (3, 2)
    assert tab.page.locator("#teach-train").is_disabled()
    assert "at least 8 pictures" in tab.text("#teach-says")

    # Removed by key and by mouse; renamed; a name that cannot be is refused and put back.
    cats = tab.page.locator(".class", has=tab.page.get_by_label("Hold to record cat"))
    cats.locator(".thumbs button").first.focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Delete")
    tab.shows(".class .numbers", "2 pictures")
    cats.locator(".thumbs button").first.click()
    tab.shows(".class .numbers", "1 picture")
    name = tab.page.get_by_label("Name of the class cat")
    name.fill("a/b")
    name.press("Enter")
    tab.shows("#notice", "cannot be the name of a folder")
    assert name.input_value() == "cat"
    name.fill("lynx")
    name.press("Enter")
    tab.page.get_by_label("Hold to record lynx").wait_for()
    tab.page.on("dialog", lambda dialog: dialog.accept())
    tab.page.get_by_label("Remove the class dog").click()
    tab.count(".class", 1)
    tab.page.reload()
    tab.page.get_by_label("Hold to record lynx").wait_for()
    tab.count(".class", 1)
    (left,) = files(studio.folder / "pictures" / "things")
    assert left.startswith("lynx/")


def test_what_is_dropped_goes_to_the_class_that_its_folder_names(tab: Tab) -> None:
    tab.open("#teach")
    found = tab.page.evaluate(
        """async (paths) => {
          const { byClass } = await import("/studio/dropped.js");
          const given = paths.map((path) => ({ file: path, path: path.split("/") }));
          return Object.fromEntries(byClass(given));
        }""",
        [
            *("loose.png", "cat/1.png", "cat/more/2.png"),
            *("set/dog/1.png", "set/dog/deep/2.png", "set/bird/1.png"),
            *("split/train/cat/3.png", "split/test/cat/4.png", "train/5.png"),
        ],
    )
    assert found == {
        "": ["loose.png", "train/5.png"],
        "cat": ["cat/1.png", "cat/more/2.png", "split/train/cat/3.png", "split/test/cat/4.png"],
        "dog": ["set/dog/1.png", "set/dog/deep/2.png"],
        "bird": ["set/bird/1.png"],
    }


def drop(tab: Tab, onto: str, *paths: Path) -> None:
    """Drop files and folders from the machine, as a hand does with the mouse."""
    box = tab.page.locator(onto).bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = tab.page.context.new_cdp_session(tab.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + min(20, box["height"] / 2)}
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})
    session.detach()


def test_a_dropped_folder_becomes_classes_and_a_dropped_file_goes_to_the_class_below(
    tab: Tab, studio: Running, tmp_path: Path
) -> None:
    things = tmp_path / "from elsewhere" / "things"
    # A browser lists a folder a hundred at a time.
    for label, numbers in (("cup", range(103)), ("pen", range(200, 202))):
        (things / label).mkdir(parents=True)
        for number in numbers:
            (things / label / f"{number}.png").write_bytes(picture(number))
    (things / "pen" / "notes.txt").write_text("no picture")
    tab.open("#teach")
    tab.page.set_viewport_size({"width": 1280, "height": 2000})
    drop(tab, "#teach-drop", things)
    tab.shows("#teach-sent", "106 of 106 files sent. 1 refused: notes.txt")
    assert (counted(tab, "cup"), counted(tab, "pen")) == (103, 2)

    loose = tmp_path / "loose.png"
    loose.write_bytes(picture(300))
    drop(tab, ".class:has([aria-label='Hold to record pen'])", loose)
    tab.shows("#teach-sent", "1 of 1 files sent.")
    assert counted(tab, "pen") == 3
    found = files(studio.folder / "pictures")
    assert sum("/cup/" in name for name in found) == 103
    assert sum("/pen/" in name for name in found) == 3
