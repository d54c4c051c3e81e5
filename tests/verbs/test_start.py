"""Start from a run: which weights are used, how fast each layer learns, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.kit import Command, striped, tutorial_net, whitened_net

import firstlight as fl
from firstlight.errors import RunInterruptedError
from firstlight.models.network import head
from firstlight.recipe import Recipe, load_recipe
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder, open_run_folder
from firstlight.training.position import StepRecord
from firstlight.verbs.plan import plan_on
from firstlight.verbs.start import open_start, recipe_like

LENGTH = ("train.epochs=1", "train.batch_size=20", "train.validation=none")


def trained(out: Path, recipe: str = "cifar10-quick", size: int = 16) -> Path:
    whitened = recipe == "cifar10-quick"
    settings = [*(whitened_net(8, 12) if whitened else [tutorial_net(8, 12)]), *LENGTH]
    return fl.train(striped(60, size), recipe, settings=settings, out=out, quiet=True).path


def other(count: int = 40, size: int = 16) -> fl.TrainTest:
    """Return three classes: stripes, and images with both."""
    parts = []
    for part in striped(count, size):
        labels_N = part.labels_N.copy()
        labels_N[::3] = 2
        parts.append(
            fl.Dataset(
                name=f"other/{part.name}",
                images_NHWC=np.ascontiguousarray(part.images_NHWC[::-1]),
                labels_N=labels_N,
                class_names=("row", "column", "both"),
            )
        )
    return fl.TrainTest(*parts)


def from_run(path: Path, *settings: str) -> Recipe:
    recipe = recipe_like(load_recipe("mnist-quick"), path, open_start(path))
    return recipe.with_settings([*LENGTH, *settings])


def test_a_model_of_the_box_is_started_from_by_its_name(command: Command) -> None:
    np.savez(
        "set.npz", images=striped(60, 28).train.images_NHWC, labels=striped(60, 28).train.labels_N
    )
    done = command(
        "train", "set.npz", "--from", "mnist", "--epochs", "1", "--out", "run", "--quiet"
    )
    assert done.code == 0, done.err
    assert Path(load_recipe("run/recipe.toml").train.start_from).name == "mnist"


@pytest.mark.parametrize(
    ("first", "share"), [("cifar10-quick", 0.5), ("mnist-tutorial", 0), ("mnist-best", 0)]
)
def test_smaller_images_only_where_the_run_s_network_takes_them(
    tmp_path: Path, first: str, share: float
) -> None:
    net = [tutorial_net(8, 12)] if first == "mnist-tutorial" else whitened_net(8, 12)
    if first == "mnist-best":  # the dense layer uses every position
        net = whitened_net(8, 12, pool_last=False)
    settings = [*net, *LENGTH, "augment=[]"]
    path = fl.train(striped(60, 16), first, settings=settings, out=tmp_path / "run", quiet=True)
    recipe = load_recipe("cifar10-quick")
    assert recipe.train.small_share == 0.5
    assert recipe_like(recipe, path.path, open_start(path.path)).train.small_share == share


@pytest.mark.parametrize("recipe", ["cifar10-quick", "mnist-tutorial"])
def test_all_but_the_last_layer_and_the_pixel_path_are_the_run_s(
    tmp_path: Path, recipe: str
) -> None:
    path = trained(tmp_path / "first", recipe, size=20)
    saved = load_model(open_run_folder(path))
    trainer = plan_on(other(size=20), from_run(path), "cpu").trainer()

    theirs, ours = saved.model.state_dict(), trainer.model.state_dict()
    assert theirs.keys() == ours.keys()
    for name, weight in theirs.items():
        if name.startswith(f"{head(trainer.model)}."):
            assert ours[name].shape[0] == 3
        else:
            assert torch.equal(ours[name], weight), name
    assert trainer.preprocess.mean == saved.preprocess.mean
    assert trainer.preprocess.std == saved.preprocess.std


def test_the_lower_a_layer_the_smaller_its_step(tmp_path: Path) -> None:
    """Adam's first step moves each weight by its learning rate: 0.01, 0.1 and 1 of the last's."""
    path = trained(tmp_path / "first", "mnist-tutorial", size=20)
    recipe = from_run(
        path,
        *("optimizer.name=adam", "optimizer.learning_rate=0.001", "train.start_rate=0.01"),
        *("schedule.name=constant", "optimizer.epsilon=1e-12", "augment=[]"),
    )
    trainer = plan_on(other(size=20), recipe, "cpu").trainer()
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    assert isinstance(next(trainer.run()), StepRecord)

    moved = {
        name.rpartition(".")[0]: float((weight - before[name]).detach().abs().max())
        for name, weight in trainer.model.named_parameters()
        if name.endswith("weight")
    }
    shares = [moved[layer] / 1e-3 for layer in ("conv1", "dense1", "dense2")]
    # Four layers: the shares are evenly spaced on a log scale.
    assert shares == pytest.approx([0.01, 0.01 ** (1 / 3), 1.0], rel=1e-2)
    assert moved["conv2"] / 1e-3 == pytest.approx(0.01 ** (2 / 3), rel=1e-2)


def test_a_stopped_run_goes_on_without_the_run_it_started_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(tmp_path / "first")
    settings = ["train.epochs=2", "train.batch_size=20", "train.validation=none"]

    def second(out: Path) -> fl.Run:
        return fl.train(other(), "mnist-quick", start=first, settings=settings, out=out, quiet=True)

    whole = second(tmp_path / "whole")
    plain = RunFolder.write

    def stop(self: RunFolder, name: str, content: str | bytes) -> Any:
        if name == "epochs.csv":
            raise KeyboardInterrupt
        return plain(self, name, content)

    monkeypatch.setattr(RunFolder, "write", stop)
    with pytest.raises(RunInterruptedError):
        second(tmp_path / "stopped")
    monkeypatch.setattr(RunFolder, "write", plain)
    shutil.rmtree(first)
    stopped = fl.resume(tmp_path / "stopped", other(), quiet=True)

    assert (stopped.path / "model.safetensors").read_bytes() == (
        whole.path / "model.safetensors"
    ).read_bytes()
    assert not (stopped.path / "checkpoint").exists()


def test_own_pictures_come_in_the_shape_of_the_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trained(tmp_path / "first")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 30, 40, 3), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(60) % 3)

    done = command("train", "own.npz", "--from", "first", "--epochs", "1", "--out", "second")
    assert done.code == 0, done.err
    assert "the network of first, its last layer new" in done.out
    assert "16 × 16 grey, the size that first takes" in done.out
    assert "as asked for" not in done.out
    described = json.loads(Path("second/data.json").read_text())
    assert described["image_shape"] == [16, 16, 1]
    assert command("evaluate", "second").code == 0
    assert command("train", "own.npz", "--from", "second", "--epochs", "1").code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("own.npz", "--from", "first", "--size", "20"), 2, "leave out --size"),
        (("own.npz", "--from", "gone"), 2, "the backbones are efficientnet_lite0, "),
        (("own.npz", "--from", "mobilenet_v4_smal"), 2, "did you mean mobilenet_v4_small?"),
        (("own.npz", "--from", "mnits"), 2, "no such run folder, model in the box or backbone"),
        (("own.npz", "--from", "runs/gone"), 2, "models in the box: mnist and cifar10"),
        (("digits", "--from", "first"), 2, "takes images of 16×16×1, got 8×8×1"),
        (("digits", "--from", "mnist"), 2, "takes images of 28×28×1, got 8×8×1"),
        (("own.npz", "--from", "first", "--set", tutorial_net(4, 4)), 2, "do not change its"),
        (("--resume", "first", "--from", "first"), 2, "leave out --from"),
    ],
)
def test_what_cannot_start_is_told_why(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trained(tmp_path / "first")
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(60) % 3)
    done = command("train", *words)
    assert done.code == code and message in done.err
    assert not Path("runs").exists()
