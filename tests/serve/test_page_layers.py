"""A network with more layers than are shown at once: in the report, the explanation, on the
page."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.conftest import new_tab
from tests.serve.running import running
from tests.serve.test_page_routes import colour

import firstlight as fl
from firstlight import layers as la
from firstlight.data.dataset import TrainTest
from firstlight.layers.network import Network


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[fl.Run, TrainTest]:
    images = colour(12)
    block = la.Residual((la.Conv(4, kernel=3, padding="same"), la.BatchNorm()))
    stem = (
        la.Conv(40, kernel=3, padding="same"),
        la.Conv(4, kernel=1),
        la.Repeat(14, (block,)),
        la.MaxPool(2),
    )
    network = Network(layers=(*stem, la.GlobalAveragePool(), la.Dense("classes")))
    run = fl.train(
        images, network=network, epochs=1, out=tmp_path_factory.mktemp("long") / "net-1", quiet=True
    )
    return run, images


def png(image_HWC: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image_HWC).save(stream, "PNG")
    return stream.getvalue()


def test_of_a_long_network_page_report_and_explanation_show_the_same_layers(
    long_run: tuple[fl.Run, TrainTest],
) -> None:
    run, images = long_run
    content = png(images.test.images_NHWC[0])
    with running([run]) as service, service.client() as client:
        some, every = (
            client.post(f"/api/inside?whole={whole}", content=content).content
            for whole in ("false", "true")
        )
        heads = [
            json.loads(each[4 : 4 + int.from_bytes(each[:4], "little")]) for each in (some, every)
        ]
        last = heads[0]["layers"][-1]["number"]
        found = client.post(f"/api/map?layer={last}&channel=0", content=content).json()
    # Two convolutions, fourteen blocks with their layers, and three at the end. The last ReLU is
    # computed after the pool.
    names = [layer["name"] for layer in heads[1]["layers"]]
    assert len(names) == heads[0]["all_layers"] == 2 + 14 * 4 + 3
    assert [layer["number"] for layer in heads[1]["layers"]] == [*range(len(names))]
    assert [layer["name"] for layer in heads[0]["layers"]] == [
        *("conv1", "residual14", "activation14", "global_average_pool1", "dense1")
    ]
    choice = f"5 of {len(names)} layers are shown: "
    assert heads[0]["choice"].startswith(choice)
    run.evaluate()
    report = run.report().read_text(encoding="utf-8")
    # As listed in the recipe, where a block's ReLU is part of it.
    assert f"5 of {2 + 14 * 3 + 3} layers are shown: " in report
    assert "Drawing of the whole network" in report
    explained = run.explain(images.test.images_NHWC[0])
    page = explained.page.read_text(encoding="utf-8")
    assert len(explained.layers) == len(names)
    assert choice in page and "firstlight serve" in page and page.count("<h2>") == 3 + 5 + 1
    numbers = np.frombuffer(some[4 + int.from_bytes(some[:4], "little") :], "<f4")
    score = numbers[heads[0]["layers"][-1]["offset"]]
    assert found["value"] == pytest.approx(score)


def test_the_page_shows_all_layers_and_all_maps_when_asked(
    browser: Any, long_run: tuple[fl.Run, TrainTest]
) -> None:
    run, images = long_run
    with running([run]) as service:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        tab = new_tab(context, service.address)
        tab.open()
        picture = {"name": "a.png", "mimeType": "image/png"}
        content = png(images.test.images_NHWC[0])
        tab.page.set_input_files("#file", {**picture, "buffer": content})
        tab.count(".layer", 5)
        assert "5 of 61 layers are shown: the first" in tab.text("#choice-says")
        first, more = tab.page.locator(".layer").first, tab.page.locator(".layer button").first
        assert more.inner_text() == "All 40 maps"
        assert first.locator("canvas").get_attribute("aria-valuemax") == "31"
        more.click()
        assert first.locator("canvas").get_attribute("aria-valuemax") == "39"
        assert not more.is_visible()

        every = tab.text("#whole-says")
        tab.page.check("#whole")
        tab.count(".layer", int(every.split()[2]))
        assert tab.text("#choice-says") == ""
        assert tab.page.locator(".layer h3").last.inner_text() == "dense1"
        tab.page.uncheck("#whole")
        tab.count(".layer", 5)
        context.close()
        assert tab.faults == []
