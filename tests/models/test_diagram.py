"""Diagrams of networks: every layer is in them, to scale, and they are self-contained documents."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.models.test_summary import MIXED, RESIDUAL

from firstlight import layers as la
from firstlight.errors import UserError
from firstlight.layers.network import Network
from firstlight.recipe import load_recipe, recipe_names

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).resolve().parents[2]


def drawn(*layers: la.Layer, shape: tuple[int, int, int] = (32, 16, 3)) -> ElementTree.Element:
    return ElementTree.fromstring(Network(layers=layers).diagram(shape, 3))


def texts(tree: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in tree.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_s_network_is_drawn_with_all_its_convolutions(name: str) -> None:
    shape = (32, 32, 3) if name.startswith("cifar") else (28, 28, 1)
    network = load_recipe(name).network
    tree = ElementTree.fromstring(network.diagram(shape, 10))

    rows = network.summary(shape, 10).rows
    named = [row.name for row in rows if row.what.startswith(("conv", "dense")) and not row.depth]
    shown = " ".join(texts(tree))
    assert shown.count("10 numbers") >= 1 and "Image" in shown
    wide = float(tree.attrib["width"])
    assert wide <= 350 or any(layer.kind == "branches" for layer in network.layers)
    assert named and all(name in shown for name in named)


def test_boxes_are_to_scale_of_their_maps() -> None:
    tree = drawn(la.Conv(1, kernel=1), la.MaxPool(2), la.Flatten(), la.Dense("classes"))
    boxes = [one.attrib for one in tree.iter(f"{SVG}rect") if one.attrib["class"] == "box"]

    sides = [(float(one["height"]), float(one["width"])) for one in boxes]
    tall = max(height for height, _ in sides)
    assert (tall, tall / 2) in sides, "the image, 32×16"
    assert sides.count((tall / 2, tall / 4)) == 1, "half of it, of one map, is one sheet"


def test_an_image_that_is_enlarged_is_drawn_small_and_no_box_over_the_text() -> None:
    tree = drawn(la.Resize(128), la.Conv(1, kernel=1), la.Flatten(), la.Dense("classes"))
    boxes = [one.attrib for one in tree.iter(f"{SVG}rect") if one.attrib["class"] == "box"]
    sides = [(float(one["height"]), float(one["width"])) for one in boxes]
    largest = max(height for height, _ in sides)
    assert (largest, largest) in sides and (largest / 4, largest / 8) in sides, "128×128, 32×16"
    left = min(float(one.attrib["x"]) for one in tree.iter(f"{SVG}text"))
    assert all(float(one["x"]) >= 0 for one in boxes)
    assert all(float(one["x"]) + float(one["width"]) < left for one in boxes)


def test_residual_paths_and_branches_are_there_with_their_sums() -> None:
    tree = drawn(*RESIDUAL, shape=(16, 16, 1))
    assert sum(one.attrib.get("class") == "short" for one in tree.iter(f"{SVG}path")) == 3
    said = " ".join(texts(tree))
    assert texts(tree).count("+") == 3
    assert said.count("plus the input") == 2 and "plus convolution, 8 filters of 1×1" in said

    tree = drawn(*MIXED, shape=(64, 64, 2))
    assert "2 branches, concatenated" in texts(tree)
    joined = la.Branches(((la.Conv(3, kernel=1),), ()), join="add")
    assert "+" in texts(drawn(joined, la.Flatten(), la.Dense("classes")))


def test_it_has_words_for_screen_readers_and_loads_nothing() -> None:
    text = load_recipe("mnist-tutorial").network.diagram((28, 28, 1), 10)
    tree = ElementTree.fromstring(text)

    title, told = (tree.find(f"{SVG}{tag}") for tag in ("title", "desc"))
    assert title is not None and title.text and told is not None and told.text
    assert tree.attrib["role"] == "img" and tree.attrib["aria-labelledby"] == "t d"
    for step in ("7. dense, 10 units: 10 features.", "2. max-pooling, 2×2: maps of 13×13×32."):
        assert step in told.text
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in text and "<script" not in text


def test_the_smallest_and_strangest_networks_are_drawn() -> None:
    drawn(la.Flatten(), la.Dense("classes"), shape=(1, 1, 1))
    deep = la.Residual((la.Residual((la.Residual((la.Conv(3, padding="same"),)),)),))
    drawn(deep, la.GlobalAveragePool(), la.Dense("classes"))
    only = la.Residual((la.Repeat(2, (la.Activation("tanh"),)),))
    drawn(only, la.Flatten(), la.Dense("classes"))
    first = la.Branches(((la.Dropout(0.1),), (), (only,)))
    drawn(first, la.Flatten(), la.Dense("classes"))
    with pytest.raises(UserError, match="layer 1"):
        drawn(la.Dense(3), la.Dense("classes"))
    with pytest.raises(UserError, match="image_shape"):
        drawn(la.Flatten(), la.Dense("classes"), shape=(8, 8))  # type: ignore[arg-type]


def test_the_tutorial_s_drawing_is_that_of_its_network() -> None:
    wanted = load_recipe("mnist-tutorial").network.diagram((28, 28, 1), 10)
    path = ROOT / "docs" / "pictures" / "tutorial-network.svg"
    assert path.read_text(encoding="utf-8") == wanted
