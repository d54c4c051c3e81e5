"""Weights and state on disk: safetensors, whole or refused, never a pickle."""

import io
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Generator

import firstlight
from firstlight.errors import DataError
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.recipe import ModelChoice
from firstlight.runs.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    drop_state,
    load_model,
    load_state,
    save_model,
    save_state,
)
from firstlight.runs.folder import RunFolder

ARCHITECTURE = Architecture(
    choice=ModelChoice(widths=(3, 5), dense=7, dropout=0.25), image_shape=(12, 15, 3), classes=4
)
PREPROCESS = Preprocess(height=12, width=15, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
NAMES = ("cat", "ä<b>", "owl", "fish")


@pytest.fixture
def saved(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    model = ARCHITECTURE.build(Generator().manual_seed(1))
    save_model(folder, model, ARCHITECTURE, PREPROCESS, NAMES)
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
        assert file.get_tensor("logits.weight").shape == (4, 7)
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
    guilty = [p for p in root.rglob("*.py") if forbidden.search(p.read_text(encoding="utf-8"))]
    assert guilty == []


def test_weights_of_another_network_or_a_foreign_file_are_refused(saved: RunFolder) -> None:
    other = Architecture(
        choice=ModelChoice(widths=(3,), dense=7), image_shape=(12, 15, 3), classes=4
    )
    save_model(saved, other.build(Generator()), ARCHITECTURE, PREPROCESS, NAMES)
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
