"""Training on images that stay in their shards: order and position are exact."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.shards.kit import write_shards
from tests.kit import ended, launched

import firstlight as fl
from firstlight.data.shards import images, load
from firstlight.data.shards.held import shelf
from firstlight.errors import DataError, RunInterruptedError
from firstlight.interrupt import StopRequest
from firstlight.threads import usable_threads
from firstlight.training import randomness
from firstlight.training.randomness import WINDOW, order_in_shards
from firstlight.verbs import fit

CHOICES: dict[str, Any] = {
    "network": [fl.layers.Conv(4), fl.layers.Flatten(), fl.layers.Dense("classes")],
    "epochs": 3,
    "batch_size": 16,
    "settings": ["train.validation=held-out"],
    "quiet": True,
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), 120, 10)


@pytest.fixture(autouse=True)
def _streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "MOST_LOOKED_THROUGH", 0)


def weights(run: fl.Run) -> bytes:
    return (run.path / "model.safetensors").read_bytes()


def test_the_order_is_a_permutation_that_goes_through_a_few_shards_at_a_time() -> None:
    shards_N = torch.from_numpy(np.repeat(np.arange(20), 5))
    order_N = order_in_shards(shards_N, seed=1, epoch=0)
    assert sorted(order_N.tolist()) == list(range(100))
    window = shards_N[order_N].split(WINDOW * 5)
    assert [len(part.unique()) for part in window] == [WINDOW, WINDOW, 20 - 2 * WINDOW]
    assert not torch.equal(order_N, order_in_shards(shards_N, seed=1, epoch=1))
    assert torch.equal(order_N, order_in_shards(shards_N, seed=1, epoch=0))
    first = shards_N[order_N][: WINDOW * 5]
    assert len(first[:10].unique()) > 2  # shuffled within the window


def test_the_bits_do_not_depend_on_threads_or_on_what_is_decoded_ahead(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fl.train(shards, out=tmp_path / "a", **CHOICES)
    monkeypatch.setattr(images, "usable_threads", lambda: 5)
    monkeypatch.setattr(images, "_pool", None)
    monkeypatch.setattr(images, "_MOST_AHEAD", 1)
    monkeypatch.setattr(images, "_CHUNK", 3)
    second = fl.train(shards, out=tmp_path / "b", **CHOICES)
    assert weights(first) == weights(second)
    assert first.summary["kept_epoch"]["validation_accuracy"] > 0.5


def test_the_order_of_the_shards_is_trained_in(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fl.train(shards, out=tmp_path / "a", **CHOICES)
    monkeypatch.setattr(randomness, "WINDOW", 1)
    assert weights(fl.train(shards, out=tmp_path / "b", **CHOICES)) != weights(first)


def test_many_images_are_not_compared_with_a_backbone_unasked(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("firstlight.verbs.contest.backbone_here", lambda: "efficientnet_lite0")
    monkeypatch.setattr("firstlight.verbs.choose.SEEN", 500)
    run = fl.train(shards, out=tmp_path / "run")
    assert run.recipe.train.start_from == ""
    assert "trained from scratch: there are too many images" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"run", "cache"}


def test_others_may_be_asked_for_while_batches_are_decoded_ahead(shards: Path) -> None:
    train = fl.load(shards).train
    assert train.shards is not None
    batches = [np.array([3, 1]), np.array([2, 0]), np.array([5, 4])]
    whole = train.images_NHWC[:]
    with train.shards.ahead(batches):
        for asked in (batches[0], np.array([7, 8]), batches[1], batches[2], batches[0]):
            assert (train.images_NHWC[asked] == whole[asked]).all()


def test_shards_at_an_address_train_to_the_bits_of_those_here(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the cache holds only a few, so that they are downloaded again and again."""
    fsspec = pytest.importorskip("fsspec")
    here = fl.train(shards, out=tmp_path / "here", **CHOICES)
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/far", recursive=True)
    size = max(path.stat().st_size for path in shards.iterdir())
    monkeypatch.setenv("FIRSTLIGHT_SHARD_CACHE", str(10 * size))
    far = fl.train("memory://far", out=tmp_path / "far", **CHOICES)
    memory.rm("/far", recursive=True)
    assert weights(far) == weights(here)
    there = sum(path.stat().st_size for path in shelf().glob("*.bytes"))
    assert there <= 10 * size
    monkeypatch.setenv("FIRSTLIGHT_SHARD_CACHE", str(5 * size))
    memory.put(str(shards), "/far", recursive=True)
    with pytest.raises(DataError, match="8 shards that are read together take"):
        fl.train("memory://far", **CHOICES)
    memory.rm("/far", recursive=True)


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are tried on Linux alone")
@pytest.mark.usefixtures("warm")
def test_two_processes_train_to_the_bits_of_one(shards: Path, tmp_path: Path) -> None:
    whole = fl.train(
        shards, **{**CHOICES, "settings": ["train.shards=2"]}, seed=4, out=tmp_path / "one"
    )
    words: list[str | Path] = [Path(__file__).with_name("large_shards.py"), "train", shards]
    words += ["--recipe", whole.path / "recipe.toml", "--out", tmp_path / "two"]
    codes, _, err = ended(launched(words, 2, usable_threads()))
    assert codes == [0, 0], err
    assert (tmp_path / "two" / "model.safetensors").read_bytes() == weights(whole)


def test_a_stopped_run_goes_on_with_the_same_bits(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped in the middle of its second epoch."""
    whole = fl.train(shards, out=tmp_path / "whole", **CHOICES)
    looks = iter(range(100))

    class AtStepNine(StopRequest):
        @property
        def wanted(self) -> bool:
            return next(looks) == 8

        @wanted.setter
        def wanted(self, value: bool) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(fit, "StopRequest", AtStepNine)
        with pytest.raises(RunInterruptedError):
            fl.train(shards, out=tmp_path / "stopped", **CHOICES)
    assert weights(fl.resume(tmp_path / "stopped", quiet=True)) == weights(whole)
