"""The page that a notebook shows in a frame: served by a thread, to who has its token."""

import io
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import firstlight as fl
from firstlight.serve.access import Access
from firstlight.serve.live_page import LivePage


@pytest.fixture
def page(digits_run: fl.Run) -> Iterator[LivePage]:
    found = digits_run.draw()
    yield found
    found.close()


def asked(page: LivePage, path: str, *, body: bytes | None = None, token: bool = True) -> Any:
    address, _, fragment = page.address.partition("#token=")
    headers = {"Content-Type": "image/png"} if body else {}
    if token:
        headers["Authorization"] = f"Bearer {fragment}"
    request = urllib.request.Request(f"{address}{path}", body, headers)
    return urllib.request.urlopen(request, timeout=60)


def test_a_drawing_is_answered_as_the_run_answers_it(page: LivePage, digits_run: fl.Run) -> None:
    image_HWC = fl.load("digits").test.images_NHWC[5]
    drawing = io.BytesIO()
    Image.fromarray(image_HWC[..., 0]).save(drawing, format="PNG")
    with asked(page, "api/predict", body=drawing.getvalue()) as answer:
        (found,) = json.load(answer)["predictions"]
    (wanted,) = digits_run.predict(image_HWC[None])
    assert found["answer"] == wanted.answer
    with asked(page, f"api/runs/{digits_run.path.name}/test?page=0&count=3") as answer:
        assert answer.status == 200  # the test images are there to choose from


def test_who_has_no_token_gets_no_answer(page: LivePage) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked(page, "api/runs", token=False)


def test_it_may_be_framed_and_other_pages_of_the_service_may_not(page: LivePage) -> None:
    with asked(page, "") as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors" not in policy
    with pytest.raises(ValueError, match="token"):
        Access(framed=True)


def test_a_run_has_one_page_until_it_is_closed(digits_run: fl.Run) -> None:
    first = digits_run.draw()
    assert fl.open_run(digits_run.path).draw() is first
    first.close()
    assert not first.is_open and "closed" in repr(first)
    assert "<iframe" not in first._repr_html_()
    second = digits_run.draw()
    assert second.address != first.address
    second.close()


def test_a_cell_shows_a_frame(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    html = page._repr_html_()
    assert f'<iframe src="{page.address}"' in html
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    page._ipython_display_()
    assert shown[0]["text/html"] == html


NO_STORAGE = """
Object.defineProperty(window, "sessionStorage", {
  get() { throw new DOMException("refused", "SecurityError"); },
});
"""


@pytest.mark.parametrize("script", ["", NO_STORAGE], ids=["storage", "no storage"])
def test_one_draws_in_a_frame_of_another_page(
    browser: Any, page: LivePage, tmp_path: Path, script: str
) -> None:
    """Also where a browser refuses storage to a frame of another site."""
    (tmp_path / "notebook.html").write_text(f"<!doctype html>{page._repr_html_()}")
    context = browser.new_context()
    context.add_init_script(script)
    tab = context.new_page()
    tab.goto((tmp_path / "notebook.html").as_uri())
    frame = tab.frame_locator("iframe")
    paper = frame.locator("#paper")
    frame.locator("#bars .best").wait_for()  # of a test image
    box = paper.bounding_box()
    tab.mouse.move(box["x"] + 90, box["y"] + 60)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 90, box["y"] + 200, steps=5)
    tab.mouse.up()
    frame.locator("#from", has_text="of your drawing").wait_for()
    assert frame.locator("#answer").inner_text() in [*"0123456789", "unknown"]
    assert frame.locator("#door").is_hidden()
    context.close()


def test_in_colab_the_frame_goes_through_its_own_way(
    page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for Colab's module, with the parameters of its documentation."""
    colab, output = ModuleType("google.colab"), ModuleType("google.colab.output")
    shown: list[tuple[int, str, str]] = []

    def serve_kernel_port_as_iframe(
        port: int, path: str = "/", width: str = "100%", height: str = "400"
    ) -> None:
        shown.append((port, path, height))

    output.serve_kernel_port_as_iframe = serve_kernel_port_as_iframe  # type: ignore[attr-defined]
    colab.output = output  # type: ignore[attr-defined]
    for name, module in {"google": ModuleType("google"), "google.colab": colab}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)

    page._ipython_display_()

    ((port, path, height),) = shown
    assert f"http://127.0.0.1:{port}{path}" == page.address and height == "720"


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = fl.train("digits", epochs=1, out=tmp_path / "run", quiet=True)
    (run.path / "summary.json").unlink()
    with pytest.raises(fl.UserError, match="the run did not finish"):
        run.draw()
