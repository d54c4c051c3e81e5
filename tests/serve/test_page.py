"""The page in a real browser: pictures in, answers and every layer out."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.serve.conftest import Tab, new_tab
from tests.serve.redrawn import redrawn
from tests.serve.running import Running, running

import firstlight as fl


def png(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image_HWC.squeeze()).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def mnist_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    return fl.train("mnist", out=tmp_path_factory.mktemp("runs") / "mnist-1", quiet=True)


@pytest.fixture(scope="module")
def mnist_served(mnist_run: fl.Run) -> Iterator[Running]:
    with running([mnist_run]) as service:
        yield service


SEVEN = ((0.25, 0.25), (0.7, 0.22), (0.6, 0.45), (0.5, 0.65), (0.45, 0.85))


@pytest.mark.real_data
def test_a_drawn_7_is_a_7_and_the_28_pixels_that_the_network_saw_stand_beside_it(
    browser: Any, mnist_served: Running, mnist_run: fl.Run
) -> None:
    context = browser.new_context()
    tab = new_tab(context, mnist_served.address)
    tab.open()

    tab.stroke(*SEVEN)
    tab.settled()

    assert tab.page.locator("#bars .best .name").inner_text() == "7"
    drawn = tab.page.evaluate("document.getElementById('paper').toDataURL()").partition(",")[2]
    (wanted,) = mnist_run.predict([Image.open(io.BytesIO(base64.b64decode(drawn)))])
    seen_HW = np.array(
        tab.page.evaluate(
            "[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data]"
        ),
        np.uint8,
    ).reshape(28, 28, 4)[..., 0]
    assert wanted.image_HWC is not None
    np.testing.assert_array_equal(seen_HW, wanted.image_HWC[..., 0])
    context.close()
    assert tab.faults == []


@pytest.mark.real_data
def test_of_200_mnist_digits_drawn_again_anywhere_at_any_size_97_percent_stay_what_they_were(
    mnist_served: Running,
) -> None:
    test, rng = fl.load("mnist").test, np.random.default_rng(0)
    same = 0
    with mnist_served.client() as client:

        def best(content: bytes) -> str:
            (got,) = client.post("/api/predict", content=content).json()["predictions"]
            return str(got["best"])

        for i in rng.choice(len(test), 200, replace=False):
            digit_HWC = test.images_NHWC[i]
            drawn = np.asarray(redrawn(digit_HWC[..., 0], rng))
            assert drawn.shape == (280, 280)
            same += best(png(drawn)) == best(png(digit_HWC))
    assert same >= 194


def test_the_answer_follows_the_pen_before_it_is_lifted_and_undo_and_clear_take_it_back(
    tab: Tab, stripes_run: fl.Run
) -> None:
    tab.open("#try/stripes-1")
    assert tab.text("#answer") == "–"  # its test images are not on this machine
    box = tab.page.locator("#paper").bounding_box()
    x, y, side = box["x"], box["y"], box["width"]

    tab.page.mouse.move(x + 0.05 * side, y + 0.45 * side)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 0.95 * side, y + 0.45 * side, steps=10)
    tab.shows("#answer", "row")
    tab.page.mouse.up()
    tab.page.click("#undo")
    tab.shows("#answer", "–")

    tab.stroke((0.45, 0.05), (0.45, 0.95))
    tab.shows("#answer", "column")
    tab.page.click("#clear")
    tab.shows("#answer", "–")
    assert tab.page.locator("#undo").is_disabled()


def test_a_finger_draws_as_the_mouse_does(browser: Any, served: Running) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 360, "height": 740})
    tab = new_tab(context, served.address)
    tab.open("#try/stripes-1")
    touch = {"pointerType": "touch", "pointerId": 5, "button": 0, "bubbles": True}
    box = tab.page.locator("#paper").bounding_box()
    tab.page.evaluate("document.getElementById('paper').setPointerCapture = () => {}")
    for name, share in [("pointerdown", 0.05), ("pointermove", 0.5), ("pointermove", 0.95)]:
        place = {
            "clientX": box["x"] + 0.45 * box["width"],
            "clientY": box["y"] + share * box["height"],
        }
        tab.page.locator("#paper").dispatch_event(name, touch | place)
    tab.shows("#answer", "column")
    context.close()
    assert tab.faults == []


def test_the_keys_alone_draw_choose_an_image_open_a_map_and_change_the_view(tab: Tab) -> None:
    tab.open("#try/stripes-1")
    keys = tab.page.keyboard
    tab.page.focus("#paper")
    for _ in range(12):
        keys.press("ArrowLeft")
    keys.press("Space")
    for _ in range(24):
        keys.press("ArrowRight")
    keys.press("Space")
    tab.shows("#answer", "row")
    tab.settled()

    tab.page.locator(".maps").first.focus()
    keys.press("ArrowRight")
    keys.press("Enter")
    assert tab.page.locator(".detail figcaption").first.inner_text().startswith("Map 1.")
    keys.press("Escape")
    assert tab.page.locator(".detail").count() == 0

    tab.page.focus("[data-view=results]")
    keys.press("Enter")
    tab.page.locator("#view-results").wait_for()

    tab.open("#try/digits-1")
    tab.page.locator("#strip button").nth(2).focus()
    keys.press("Enter")
    tab.shows("#strip", "")
    assert tab.page.locator("#strip button").nth(2).get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_png_that_is_dropped_pasted_or_chosen_gets_the_answer_of_predict(
    tab: Tab, digits_run: fl.Run, way: str
) -> None:
    picture = fl.load("digits").test.images_NHWC[17].repeat(20, 0).repeat(20, 1)
    (wanted,) = digits_run.predict([Image.fromarray(picture[..., 0])])
    tab.open("#try/digits-1")
    content = png(picture)
    if way == "choose":
        file = {"name": "seventeen.png", "mimeType": "image/png", "buffer": content}
        tab.page.set_input_files("#file", file)
    else:
        held = tab.page.evaluate_handle(
            """(text) => {
                const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
                const held = new DataTransfer();
                held.items.add(new File([bytes], "seventeen.png", { type: "image/png" }));
                return held;
            }""",
            base64.b64encode(content).decode(),
        )
        if way == "drop":
            tab.page.dispatch_event("#drop", "drop", {"dataTransfer": held})
        else:
            tab.page.evaluate(
                "(held) => document.dispatchEvent("
                "new ClipboardEvent('paste', { clipboardData: held }))",
                held,
            )
    tab.shows("#from", "seventeen.png")
    tab.settled()

    best = tab.page.locator("#bars .best")
    assert best.locator(".name").inner_text() == wanted.best
    assert wanted.confidence is not None
    assert (
        best.locator(".share").inner_text() == f"{100 * wanted.confidence:.1f}\N{NO-BREAK SPACE}%"
    )
    assert tab.text("#answer") == wanted.answer


def test_what_is_no_picture_is_said_and_the_next_picture_is_answered(tab: Tab) -> None:
    tab.open("#try/digits-1")
    file = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    tab.page.set_input_files("#file", file)
    tab.shows("#notice", "not a picture")
    assert tab.text("#answer") == "–"

    tab.page.locator("#strip button").nth(1).click()
    tab.shows("#from", "test image")
    tab.settled()
    assert tab.page.locator("#notice").is_hidden()


def test_the_webcam_gives_a_picture(tab: Tab) -> None:
    tab.open("#try/digits-1")
    tab.page.click("#webcam")
    tab.page.click("#snap")
    tab.shows("#from", "webcam")
    tab.page.click("#webcam")
    assert tab.page.locator("#camera").is_hidden()


def test_a_test_image_says_its_class_and_every_layer_shows_its_numbers(
    tab: Tab, digits_run: fl.Run
) -> None:
    test = fl.load("digits").test
    tab.open("#try/digits-1")
    button = tab.page.locator("#strip button").nth(3)
    index = int(button.get_attribute("aria-label").split()[2].rstrip(","))
    button.click()
    tab.shows("#from", f"test image {index}")
    tab.settled()
    assert f"it is {test.class_names[test.labels_N[index]]}" in tab.text("#sure").lower()

    # In the last layer, the number under the mouse is the class's score, as computed by plain
    # PyTorch.
    scores = plain_scores(digits_run, test.images_NHWC[index])
    last = tab.page.locator(".maps").last
    last.scroll_into_view_if_needed()
    last.hover(position={"x": 8 + 2 * 22, "y": 8})
    said = tab.text("#tip")
    assert said.startswith("Score of 2: ")
    assert float(said.rpartition(" ")[2]) == pytest.approx(float(scores[2]), rel=0.01, abs=1e-3)

    first = tab.page.locator(".maps").first
    first.scroll_into_view_if_needed()
    first.click(position={"x": 60, "y": 10})
    captions = tab.page.locator(".detail figcaption")
    captions.nth(2).wait_for()
    told = captions.all_inner_texts()
    assert told[0].startswith("Map 1. Its largest value is ")
    assert told[1].startswith("Where it looks")
    assert told[2] == "Its filter, 3×3."


def plain_scores(run: fl.Run, image_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the network's scores, computed by hand from the run's weights."""
    import json

    import torch
    from safetensors import safe_open
    from torch.nn import functional

    with safe_open(run.path / "model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {k: json.loads(v) for k, v in file.metadata().items() if v[:1] in "{["}
    preprocess = next(v["preprocess"] for v in [metadata, *metadata.values()] if "preprocess" in v)
    pixels = torch.from_numpy(image_HWC).permute(2, 0, 1)[None] / 255
    pixels = (pixels - preprocess["mean"][0]) / preprocess["std"][0]
    convolutions = [n for n in weights if n.startswith("conv") and n.endswith("weight")]
    maps = pixels
    for at, name in enumerate(sorted(convolutions)):
        maps = functional.relu(functional.conv2d(maps, weights[name], weights[name[:-6] + "bias"]))
        if at == 0 or len(convolutions) == 1:
            maps = functional.max_pool2d(maps, 2)
    hidden = maps.permute(0, 2, 3, 1).flatten(1) @ weights["dense1.weight"].T
    hidden = functional.relu(hidden + weights["dense1.bias"])
    scores: npt.NDArray[np.float32] = (
        hidden @ weights["dense2.weight"].T + weights["dense2.bias"]
    )[0].numpy()
    return scores


def test_grad_cam_for_a_class_says_which_and_changes_the_picture(tab: Tab) -> None:
    tab.open("#try/digits-1")
    pixels = "document.getElementById('seen').toDataURL()"
    plain = tab.page.evaluate(pixels)
    tab.page.check("#cam")
    tab.shows("#cam-says", "evidence")
    tab.settled()
    assert tab.page.evaluate(pixels) != plain
    tab.page.select_option("#cam-class", "3")
    tab.shows("#cam-says", " 3")
    tab.settled()
    tab.page.uncheck("#cam")
    tab.settled()
    assert tab.page.evaluate(pixels) == plain


def test_another_run_answers_the_same_drawing_and_the_address_keeps_run_and_view(tab: Tab) -> None:
    tab.open("#try/stripes-1")
    tab.stroke((0.05, 0.45), (0.95, 0.45))
    tab.shows("#answer", "row")
    tab.page.select_option("#run", "digits-1")
    tab.page.wait_for_url("**/#try/digits-1")
    tab.page.locator("#bars li").nth(9).wait_for()
    tab.settled()
    assert "your drawing" in tab.text("#from")
    tab.page.click("[data-view=results]")
    tab.page.select_option("#run", "digits-2")
    tab.page.reload()
    tab.settled()
    assert tab.page.url.endswith("#results/digits-2")
    assert tab.page.input_value("#run") == "digits-2"
    tab.page.go_back()
    tab.page.wait_for_url("**/#results/digits-1")
    assert tab.page.input_value("#run") == "digits-1"
