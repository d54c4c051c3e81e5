"""The models that come with firstlight: their size, their cards, and their accuracy."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import firstlight as fl
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.runs.box import BOX, boxed_names
from firstlight.runs.folder import RunFolder
from firstlight.verbs.card import card
from make_models import MISTAKES

NAMES = ["mnist", "cifar10"]
ANSWERED = 1_000


def test_there_are_a_model_of_digits_and_one_of_photographs_under_three_megabytes() -> None:
    assert boxed_names() == NAMES
    assert sum((BOX / name / "model.safetensors").stat().st_size for name in NAMES) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_its_files_say_and_travels_with_the_weights(name: str) -> None:
    box = RunFolder(BOX / name)
    text = box.read("README.md")
    assert text == card(box)
    with safe_open(BOX / name / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["firstlight"])["card"] == text
    correct = json.loads(box.read("measured.json"))["correct"]
    assert f"**{correct / 100:.2f} %** of 10,000 test images correct" in text


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_in_the_box_trains_as_many_numbers_as_its_card_tells(name: str) -> None:
    box = RunFolder(BOX / name)
    shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    architecture = Architecture(network=box.recipe().network, image_shape=shape, classes=10)
    model = architecture.build(torch.Generator())
    assert parameter_count(model) == box.read_json("summary.json")["parameters"]


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_a_model_in_the_box_is_wrong_where_it_was_when_its_card_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """On a tenth of the test set; `make models` evaluates all of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wrong = json.loads(MISTAKES.read_text(encoding="utf-8"))[name]
    correct = RunFolder(BOX / name).read_json("measured.json")["correct"]
    assert len(wrong) == 10_000 - correct
    test = fl.load(name).test
    answers = fl.open_run(name).predict(test.images_NHWC[:ANSWERED])
    labels = [test.class_names[label] for label in test.labels_N[:ANSWERED]]
    found = [at for at, one in enumerate(answers) if next(iter(one.probabilities)) != labels[at]]
    assert found == [at for at in wrong if at < ANSWERED]
