"""A network over many test images, and without one of its maps, as the service tells of them."""

import io
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from tests.serve.conftest import evaluated_rows
from tests.serve.running import Running, running

import firstlight as fl
from firstlight.explain.layers import layer_maps
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder
from firstlight.runtime import open_onnx
from firstlight.serve import studies
from firstlight.serve.predictor import RunPredictor


def png(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image_HWC.squeeze()).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def service(
    digits_run: fl.Run, stripes_run: fl.Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    exported = digits_run.export(out=tmp_path_factory.mktemp("file") / "file.onnx").path
    with running([digits_run, stripes_run, open_onnx(exported)]) as found:
        yield found


@pytest.fixture
def client(service: Running) -> Iterator[httpx.Client]:
    with service.client() as found:
        yield found


def done(client: httpx.Client, address: str) -> Any:
    """Ask until the answer is there."""
    while (answer := client.get(address)).status_code == 200:
        if (found := answer.json())["state"] == "done":
            return found
    pytest.fail(answer.text)


@pytest.fixture(scope="module")
def every_map(digits_run: fl.Run) -> list[npt.NDArray[np.float32]]:
    """Each layer's maps for each test image, one image at a time: N×C×h×w."""
    saved = load_model(RunFolder(digits_run.path), "cpu")
    each = [
        layer_maps(saved.model, saved.preprocess, image_HWC)
        for image_HWC in fl.load("digits").test.images_NHWC
    ]
    return [np.stack([layers[at].maps_Chw for layers in each]) for at in range(len(each[0]))]


def test_the_images_that_excite_a_map_most_are_those_with_its_largest_values(
    client: httpx.Client, every_map: list[npt.NDArray[np.float32]]
) -> None:
    test = fl.load("digits").test
    for layer, channel in ((0, 2), (2, 1), (len(every_map) - 1, 7)):
        found = done(client, f"/api/runs/digits-1/exciting?layer={layer}&channel={channel}")
        largest_N = every_map[layer][:, channel].max(axis=(1, 2))
        values = [one["value"] for one in found["pictures"]]
        assert values == pytest.approx(np.sort(largest_N)[::-1][: len(values)], abs=1e-4)
        assert len(values) == 9
        for one in found["pictures"]:
            assert one["value"] == pytest.approx(largest_N[one["index"]], abs=1e-4)
            assert one["truth"] == test.label_of(one["index"])
            top, left, bottom, right = one["box"]
            assert 0 <= top < bottom <= 8 and 0 <= left < right <= 8
        assert "360 test images" in found["says"] and "Zeiler and Fergus" in found["says"]


def test_what_is_off_and_dead_is_counted_over_the_test_images(
    client: httpx.Client, every_map: list[npt.NDArray[np.float32]]
) -> None:
    found = done(client, "/api/runs/digits-1/activity")
    assert found["layers"] and "360 test images" in found["says"]
    for layer in found["layers"]:
        maps_NChw = every_map[layer["number"]]
        above_C = (maps_NChw > 0).any(axis=(0, 2, 3))
        assert layer["off"] == pytest.approx((maps_NChw <= 0).mean(axis=(0, 2, 3)), abs=0.002)
        assert layer["dead"] == np.flatnonzero(~above_C).tolist()
        assert layer["saturated"] is None


def test_the_answer_without_a_map_is_that_of_the_network_with_zeros_in_its_place(
    client: httpx.Client, digits_run: fl.Run
) -> None:
    image_HWC = fl.load("digits").test.images_NHWC[5]
    saved = load_model(RunFolder(digits_run.path), "cpu")
    layers = layer_maps(saved.model, saved.preprocess, image_HWC)
    last = layers[-1].maps_Chw[:, 0, 0].copy()
    whole = np.exp(last / saved.temperature)
    last[3] = 0
    without = np.exp(last / saved.temperature)
    got = client.post(
        f"/api/without?layer={len(layers) - 1}&channel=3",
        content=png(image_HWC),
    ).json()
    for key, shares in (("with", whole / whole.sum()), ("without", without / without.sum())):
        wanted = dict(zip("0123456789", shares.tolist(), strict=True))
        assert got[key]["probabilities"] == pytest.approx(wanted, abs=1e-4)
    assert "Morcos" in got["says"]
    (plain,) = client.post("/api/predict", content=png(image_HWC)).json()["predictions"]
    assert got["with"]["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-6)


def test_on_the_plane_are_the_test_images_with_their_answers_by_their_features(
    client: httpx.Client, digits_run: fl.Run
) -> None:
    found = done(client, "/api/runs/digits-1/plane")
    rows = evaluated_rows(digits_run)
    assert [one["index"] for one in found["points"]] == [*range(360)]
    for one, row in zip(found["points"], rows, strict=True):
        assert (str(one["truth"]), str(one["said"])) == (row["true"], row["predicted"])
        assert one["right"] == (row["true"] == row["predicted"])
    # The two directions of largest variance of what enters the last dense layer.
    saved, entered = load_model(RunFolder(digits_run.path), "cpu"), list[torch.Tensor]()
    dense = [m for m in saved.model.modules() if isinstance(m, torch.nn.Linear)][-1]
    hook = dense.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    with torch.inference_mode():
        saved.model.eval()(saved.preprocess(torch.from_numpy(fl.load("digits").test.images_NHWC)))
    hook.remove()
    features = entered[0].double().numpy()
    features -= features.mean(axis=0)
    squares = np.linalg.svd(features, compute_uv=False) ** 2
    places = np.array([(one["x"], one["y"]) for one in found["points"]])
    assert (places**2).sum(axis=0) == pytest.approx(squares[:2], rel=1e-3)
    share = 100 * squares[:2].sum() / squares.sum()
    assert f"{share:.0f}\N{NO-BREAK SPACE}% of the variance" in found["says"]


def test_tsne_needs_scikit_learn_and_says_so(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    answer = client.get("/api/runs/digits-1/plane?way=tsne")
    assert answer.status_code == 409
    assert "firstlight[sklearn]" in answer.json()["error"]
    assert client.get("/api/runs/digits-1/plane?way=other").status_code == 422


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/runs/none/activity", 404, "no such run"),
        ("/api/runs/none/exciting?layer=0&channel=0", 404, "no such run"),
        ("/api/runs/none/plane", 404, "no such run"),
        ("/api/runs/stripes-1/activity", 404, "not on this machine"),
        ("/api/runs/stripes-1/plane", 404, "not on this machine"),
        ("/api/runs/file/activity", 409, "an exported file has no layers"),
        ("/api/runs/file/exciting?layer=0&channel=0", 409, "an exported file has no layers"),
        ("/api/runs/file/plane", 409, "an exported file has no layers"),
        ("/api/runs/digits-1/exciting?layer=0", 422, "channel"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(
    client: httpx.Client, address: str, status: int, words: str
) -> None:
    answer = client.get(address)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True)


def test_no_such_layer_or_map_is_refused(client: httpx.Client) -> None:
    done(client, "/api/runs/digits-1/activity")
    content = png(fl.load("digits").test.images_NHWC[0])
    for place in ("layer=99&channel=0", "layer=0&channel=999"):
        for answer in (
            client.get(f"/api/runs/digits-1/exciting?{place}"),
            client.post(f"/api/without?{place}", content=content),
        ):
            assert answer.status_code == 422
            assert "from 0 to" in answer.json()["error"]
    exported = client.post("/api/without?layer=0&channel=0&run=file", content=content)
    assert exported.status_code == 409


def test_another_run_under_the_same_name_has_its_own_test_images(
    digits_run: fl.Run, stripes_run: fl.Run
) -> None:
    with running([digits_run]) as served:
        first = served.service.run("digits-1")
        other = RunPredictor("digits-1", RunFolder(stripes_run.path), first.bounds)
        assert served.service.test_images(first) is not None
        assert served.service.test_images(other) is None


def test_a_long_look_says_how_far_it_is(
    digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "PATIENCE", 0.01)
    with running([digits_run]) as served, served.client() as client:
        with served.service.studies._turn:  # so it cannot begin
            first = client.get("/api/runs/digits-1/activity").json()
        assert first["state"] == "working" and first["done"] <= first["total"]
        assert done(client, "/api/runs/digits-1/activity")["layers"]
