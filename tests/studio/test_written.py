"""A recipe while it is written: text and list are one thing, and mistakes are told at their
layer."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.studio.conftest import Running

from firstlight.layers import LAYERS
from firstlight.recipe import load_recipe, parse_recipe, recipe_names
from firstlight.studio.kinds import layer_kinds
from firstlight.studio.pace import seconds_per_epoch
from firstlight.studio.written import written
from firstlight.verbs.recipes import recipe_text

MNIST = (28, 28, 1), 10
TUTORIAL = recipe_text("mnist-tutorial")


@pytest.mark.parametrize("name", recipe_names())
def test_a_ready_network_is_the_same_as_text_and_as_a_list(name: str) -> None:
    inputs = ((28, 28, 1), 10) if name.startswith("mnist") else ((32, 32, 3), 10)
    if name.startswith("digits"):
        inputs = (8, 8, 1), 10
    text = written(recipe_text(name), None, inputs)
    assert text["error"] == ""
    assert text["toml"] == recipe_text(name)  # with its comments
    again = written(text["toml"], json.loads(json.dumps(text["layers"])), inputs)
    assert parse_recipe(again["toml"], source="again") == load_recipe(name)
    assert again["rows"] == text["rows"]
    assert again["rows"]["1"]["number"] == "1"


def test_what_each_layer_gives_is_what_a_calculation_by_hand_gives() -> None:
    rows = written(TUTORIAL, None, MNIST)["rows"]
    assert [rows[str(n)]["output"] for n in range(1, 8)] == [
        *((26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64)),
        *((1600,), (64,), (10,)),
    ]
    assert rows["1"]["trained"] == 32 * (3 * 3 * 1 + 1)
    assert rows["3"]["multiply_adds"] == 11 * 11 * 64 * 3 * 3 * 32


@pytest.mark.parametrize(
    ("at", "layer", "told"),
    [
        (2, {"conv": 8, "kernel": 40}, "smaller kernel"),
        (1, {"conv": 8, "kernl": 3}, "did you mean kernel"),
        (3, {"convolution": 8}, "conv"),
        (0, {"dropout": 7}, "dropout"),
        (1, {"repeat": 2, "layers": [{"conv": 8, "kernel": 20}]}, "20"),
    ],
)
def test_a_mistake_is_told_at_its_layer_and_the_layers_before_keep_their_shapes(
    at: int, layer: dict[str, Any], told: str
) -> None:
    layers = written(TUTORIAL, None, MNIST)["layers"]
    layers.insert(at, layer)
    found = written(TUTORIAL, layers, MNIST)
    assert told in found["error"]
    assert found["at"].partition(".")[0] == str(at + 1)
    assert found["layers"] == layers
    if found["rows"]:  # a layer that does not fit; one that cannot be read has none
        assert sorted(found["rows"]) == [str(n) for n in range(1, at + 1)]


@pytest.mark.parametrize(
    "layers", [[], [{"conv": 8}], "conv", [3], [{"dense": "classes"}, None], [[[[]]]], {"a": 1}]
)
def test_what_is_no_network_is_an_error_and_not_a_fault(layers: Any) -> None:
    assert written(TUTORIAL, layers, MNIST)["error"]


@pytest.mark.parametrize("toml", ["", "name = 3", "[[[", 'name = "a"\n[train]\nepochs = -1', "\0"])
def test_a_text_that_cannot_be_read_is_an_error_and_has_no_layers(toml: str) -> None:
    found = written(toml, None, MNIST)
    assert found["error"] or found["layers"]  # an empty text is the default recipe
    if found["error"]:
        assert found["layers"] is None
        assert found["toml"] == toml


def test_every_setting_of_every_layer_is_explained() -> None:
    kinds = {kind["kind"]: kind for kind in layer_kinds()}
    assert set(kinds) == set(LAYERS)
    for kind in kinds.values():
        assert kind["title"]
        for setting in kind["settings"]:
            assert setting["told"], f"{kind['kind']}.{setting['name']}"
    padding = next(one for one in kinds["conv"]["settings"] if one["name"] == "padding")
    assert padding["names"] == ["valid", "same", "half"]
    assert padding["default"] == "valid"


def test_an_epoch_is_measured() -> None:
    toml = recipe_text("digits-tutorial")
    one = seconds_per_epoch("digits", toml)
    assert 0 < one < 60


def test_the_routes_refuse_what_is_no_recipe(studio: Running) -> None:
    with studio.client() as client:
        for values, status in (
            ({"toml": TUTORIAL, "data": "mnist"}, 200),
            ({"toml": "[[[", "data": "mnist"}, 200),
            ({"toml": 3, "data": "mnist"}, 422),
            ({"toml": TUTORIAL, "data": "../.."}, 404),
            ({"toml": TUTORIAL}, 404),
            ({"toml": "[[[", "layers": [], "data": "mnist"}, 422),
        ):
            found = client.post("/api/studio/written", json=values)
            assert found.status_code == status, found.text
        assert client.post("/api/studio/written", content=b"{").status_code == 400
        assert client.get("/api/studio/recipes/..%2F..").status_code == 404


def test_a_class_that_is_added_to_a_folder_is_counted(studio: Running) -> None:
    def draw(name: str) -> None:
        (studio.folder / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels_HWC = np.random.default_rng([len(name), number]).integers(0, 256, (32, 32, 3))
            picture = Image.fromarray(pixels_HWC.astype(np.uint8))
            picture.save(studio.folder / "photos" / name / f"{number}.png")

    toml = recipe_text("cifar10-tutorial")
    with studio.client() as client:
        for names in (["a", "bb"], ["ccc"]):
            for name in names:
                draw(name)
            found = client.post("/api/studio/written", json={"toml": toml, "data": "photos"}).json()
            count = len(list((studio.folder / "photos").iterdir()))
            assert f"{count} classes" in found["totals"][0]


def test_measuring_an_epoch_may_take_longer_than_an_answer(
    studio: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstlight.studio.network_routes.WAIT", 0.0)
    asked = {"toml": recipe_text("digits-tutorial"), "data": "digits"}
    with studio.client() as client:
        assert client.post("/api/studio/pace", json=asked).json() == {
            "seconds": None,
            "working": True,
        }
        other = {**asked, "toml": recipe_text("digits-tutorial") + "# another"}
        assert client.post("/api/studio/pace", json=other).json()["working"] is False
        found: dict[str, Any] = {}
        while found.get("working", True):
            found = client.post("/api/studio/pace", json=asked).json()
        assert 0 < found["seconds"] < 60


def test_a_folder_that_cannot_be_read_is_told_and_is_no_fault_of_the_service(
    studio: Running,
) -> None:
    for name in ("a", "b"):
        (studio.folder / "photos" / name).mkdir(parents=True)
        (studio.folder / "photos" / name / "1.png").write_bytes(b"no picture")
    with studio.client() as client:
        asked = {"toml": TUTORIAL, "data": "photos"}
        found = client.post("/api/studio/written", json=asked)
    assert found.status_code == 422
    assert "photos" in found.json()["error"]
