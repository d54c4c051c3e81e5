"""Weights and state on disk: safetensors, complete or refused, never a pickle."""

import io
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Generator, nn

import firstlight
from firstlight.errors import DataError
from firstlight.evaluate.predict import probabilities
from firstlight.layers import Whiten
from firstlight.layers.network import Network
from firstlight.layers.networks import tutorial, whitened
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.recipe import load_recipe, recipe_names
from firstlight.runs.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    SavedModel,
    drop_state,
    load_model,
    load_state,
    save_model,
    save_state,
)
from firstlight.runs.folder import RunFolder

ARCHITECTURE = Architecture(
    network=Network(layers=tutorial((3, 5), dense=7, dropout=0.25)),
    image_shape=(12, 15, 3),
    classes=4,
)
PREPROCESS = Preprocess(height=12, width=15, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
NAMES = ("cat", "ä<b>", "owl", "fish")


def kept(folder: RunFolder, model: torch.nn.Module, architecture: Architecture) -> None:
    """Write the weights of a model, as those of this architecture."""
    value = SavedModel(
        model=model, architecture=architecture, preprocess=PREPROCESS, class_names=NAMES
    )
    save_model(folder, value)


@pytest.fixture
def saved(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    model = ARCHITECTURE.build(Generator().manual_seed(1))
    kept(folder, model, ARCHITECTURE)
    return folder


def test_a_model_comes_back_with_its_weights_pixel_path_and_class_names(saved: RunFolder) -> None:
    loaded = load_model(saved)
    plain = ARCHITECTURE.build(Generator().manual_seed(1)).eval()
    images = torch.rand(2, 3, 12, 15, generator=Generator().manual_seed(0))
    assert torch.equal(loaded.model(images), plain(images))
    assert (loaded.architecture, loaded.preprocess, loaded.class_names) == (
        ARCHITECTURE,
        PREPROCESS,
        NAMES,
    )
    assert not loaded.model.training


def test_the_weights_file_is_read_by_the_safetensors_library_alone(saved: RunFolder) -> None:
    with safe_open(saved.path / MODEL_FILE, framework="np") as file:
        assert file.get_tensor("dense2.weight").shape == (4, 7)
        assert "firstlight" in file.metadata()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_file_cut_short_is_refused_by_name(saved: RunFolder, share: float) -> None:
    path = saved.path / MODEL_FILE
    blob = path.read_bytes()
    path.write_bytes(blob[: int(share * len(blob))])
    with pytest.raises(DataError, match=r"model\.safetensors: damaged"):
        load_model(saved)


def test_a_pickle_under_the_name_of_the_weights_is_refused_and_not_run(saved: RunFolder) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(saved.path / "pwned"), "w"))  # type: ignore[return-value]

    blob = io.BytesIO()
    pickle.dump(Attack(), blob)
    (saved.path / MODEL_FILE).write_bytes(blob.getvalue())
    with pytest.raises(DataError, match="damaged"):
        load_model(saved)
    assert not (saved.path / "pwned").exists()


def test_no_module_of_the_package_reads_pickles() -> None:
    root = Path(firstlight.__file__).parent
    forbidden = re.compile(
        r"pickle\.loads?\(|torch\.load\(|joblib\.load|allow_pickle=True|import pickle\b"
    )
    # One package's weights are a pickle. PyTorch reads it with its weights-only loader, which
    # executes nothing, after the checksum matched (tests/backbones).
    allowed = 'torch.load(path, map_location="cpu", weights_only=True)'
    told = "safetensors.torch.save_file(torch.load(FILE, "
    guilty = []
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path == root / "backbones" / "sources.py":
            assert text.count(allowed) == text.count(told) == 1
            text = text.replace(allowed, "").replace(told, "")
        if forbidden.search(text):
            guilty.append(path)
    assert guilty == []


def test_weights_of_another_network_or_a_foreign_file_are_refused(saved: RunFolder) -> None:
    other = Architecture(
        network=Network(layers=tutorial((3,), dense=7)),
        image_shape=(12, 15, 3),
        classes=4,
    )
    kept(saved, other.build(Generator()), ARCHITECTURE)
    with pytest.raises(DataError, match="not the weights of a firstlight model"):
        load_model(saved)
    (saved.path / MODEL_FILE).unlink()
    with pytest.raises(DataError, match="has no model"):
        load_model(saved)


def test_state_comes_back_and_is_gone_when_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert load_state(folder) is None
    tensors = {"a": torch.arange(6).reshape(2, 3).t(), "b": torch.tensor(3.0)}
    save_state(folder, tensors, {"epoch": 3, "loss_sum": 0.1 + 0.2})
    loaded = load_state(folder)
    assert loaded is not None
    assert torch.equal(loaded[0]["a"], tensors["a"]) and torch.equal(loaded[0]["b"], tensors["b"])
    assert loaded[1] == {"epoch": 3, "loss_sum": 0.1 + 0.2}
    drop_state(folder)
    assert not (tmp_path / STATE_FILE).parent.exists()


Values = dict[str, Any]


def rewritten(
    folder: RunFolder,
    change: Callable[[Values], object] = lambda _: None,
    tensors: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Return the file with other metadata, and other tensors under the given names."""
    path = folder.path / MODEL_FILE
    with safe_open(path, framework="pt") as file:
        values = json.loads(file.metadata()["firstlight"])
        kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(values)
    path.write_bytes(save({**kept, **(tensors or {})}, {"firstlight": json.dumps(values)}))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: layers(v).insert(0, {"max-pool": 64}), "its window of 64×64 pixels is larger"),
        (lambda v: layers(v).insert(2, {"batch-norm": True}), "batch_norm1.bias' is missing"),
        (lambda v: layers(v)[0].update({"conv": 16384}), r"wanted \(16384, 3"),
        (lambda v: layers(v)[5].update({"dense": 65536}), r"dense1\.\w+ is .* wanted"),
        (lambda v: layers(v).extend([{"dropout": 0.1}] * 10**4), "at most 1,000 written out"),
        (
            lambda v: layers(v).append({"repeat": 1000, "layers": [{"repeat": 1000, **FLATTENED}]}),
            "at most 1,000 written out, not 1,000,008",
        ),
        (lambda v: v["architecture"].update(network=3), "network must be a table"),
        (lambda v: layers(v)[0].update(code="import os"), "conv has no option 'code'"),
        (lambda v: v["architecture"].update(classes=10**9), "4 class names for 1000000000"),
        (lambda v: v["architecture"].update(classes="4"), "'4' classes"),
        (lambda v: v["architecture"].update(image_shape=[10**5, 10**5, 3]), r"images \(12, 15, 3"),
        (lambda v: v["preprocess"].update(height=10**5), "at most 4096 per side"),
        (lambda v: v["preprocess"].update(height=12.0), "whole numbers"),
        (lambda v: v["preprocess"].update(mean=[0.5, float("nan"), 0.5]), "NaN is not a number"),
        (lambda v: v["preprocess"].update(std=[0.25, 1e-39, 0.25]), "std must be positive"),
        (lambda v: v["preprocess"].update(mean=[1e300, 0, 0]), "mean must be finite"),
        (lambda v: v.update(calibration=calibration(temperature=float("inf"))), "Infinity"),
        (lambda v: v.update(calibration=calibration(temperature=1e300)), "wanted a temperature"),
        (lambda v: v.update(calibration=calibration(threshold=None)), "threshold must be"),
        (lambda v: v.update(class_names=["a", "b", "a", "d"]), "the class name 'a' is used for"),
        (lambda v: v.update(class_names=["a", "b", 1, "d"]), "must be a list of texts"),
        (lambda v: v.update(card=nested()), "nested more than 64 deep"),
        (lambda v: v.update(card=10**400), "a whole number of 401 digits"),
    ],
)
def test_metadata_that_do_not_fit_the_file_are_refused_before_anything_is_built(
    saved: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Values], object],
    says: str,
) -> None:
    rewritten(saved, change)
    monkeypatch.setattr(Architecture, "build", only_shapes(Architecture.build))
    with pytest.raises(DataError, match=says):
        load_model(saved)


FLATTENED: Values = {"layers": [{"flatten": True}]}


def layers(values: Values) -> list[Values]:
    found: list[Values] = values["architecture"]["network"]["layers"]
    return found


def only_shapes(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def checked(*given: object) -> nn.Module:
        model = build(*given)
        large = [p for p in model.parameters() if p.ndim > 1]
        assert all(p.is_meta for p in large), "a network was built"
        return model

    return checked


def calibration(**changes: Any) -> Values:
    return {"temperature": 1.0, "threshold": 0.5, "coverage": 0.9, "images": 60, **changes}


def nested() -> list[Any]:
    values: list[Any] = []
    for _ in range(100):
        values = [values]
    return values


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_the_tensors_name(
    saved: RunFolder, wrong: float
) -> None:
    bias = torch.zeros(7)
    bias[3] = wrong
    rewritten(saved, tensors={"dense1.bias": bias})
    with pytest.raises(DataError, match=r"dense1\.bias holds numbers that are not finite"):
        load_model(saved)


def test_other_tensors_than_the_networks_are_refused_by_name(saved: RunFolder) -> None:
    rewritten(saved, tensors={"dense1.bias": torch.zeros(8)})
    with pytest.raises(DataError, match=r"dense1\.bias is F32 of shape \(8,\), wanted \(7,\)"):
        load_model(saved)
    rewritten(saved, tensors={"dense1.bias": torch.zeros(7, dtype=torch.complex64)})
    with pytest.raises(DataError, match=r"dense1\.bias is C64"):
        load_model(saved)
    rewritten(saved, tensors={"dense1.bias": torch.zeros(7), "mine": torch.zeros(1)})
    with pytest.raises(DataError, match="'mine' does not belong to the network"):
        load_model(saved)


def test_a_variance_below_nought_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    choice = Network(layers=whitened((4,), stem=Whiten(4)))
    architecture = Architecture(network=choice, image_shape=(12, 15, 3), classes=4)
    model = architecture.build(Generator())
    kept(folder, model, architecture)
    load_model(folder)
    rewritten(folder, tensors={"batch_norm1.running_var": torch.tensor([1.0, -1e-9, 1, 1])})
    with pytest.raises(DataError, match=r"batch_norm1\.running_var holds negative variances"):
        load_model(folder)


def test_weights_whose_answers_are_no_numbers_are_told_and_not_answered(saved: RunFolder) -> None:
    rewritten(saved, tensors={"dense1.weight": torch.full((7, 5 * 2), 3e38)})
    loaded = load_model(saved)
    images = np.full((2, 12, 15, 3), 255, np.uint8)
    with pytest.raises(DataError, match="not probabilities"):
        probabilities(loaded.model, loaded.preprocess, images)


@pytest.mark.parametrize("recipe", recipe_names())
def test_the_shapes_are_known_without_building_the_network(recipe: str) -> None:
    shape = (28, 28, 1) if "mnist" in recipe else (32, 32, 3)
    architecture = Architecture(network=load_recipe(recipe).network, image_shape=shape, classes=10)
    built = architecture.build(Generator()).state_dict()
    assert architecture.shapes() == {name: tuple(t.shape) for name, t in built.items()}
