"""A last layer that is fitted to features before the first step."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.kit import Command, striped, whitened_net
from tests.verbs.test_start import other

import firstlight as fl
from firstlight.errors import RunInterruptedError, UserError
from firstlight.evaluate.features import features
from firstlight.recipe import Recipe
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import RunFolder, open_run_folder
from firstlight.runs.record import read_epochs
from firstlight.training.loop import Trainer

HEAD_ALONE = ("train.start_head=linear", "train.epochs=0", "train.batch_size=20", "augment=[]")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of stripes, with batch norm."""
    network = [
        *(fl.layers.Conv(8, kernel=3, bias=False), fl.layers.BatchNorm()),
        *(fl.layers.Activation("relu"), fl.layers.GlobalMaxPool(), fl.layers.Dense("classes")),
    ]
    out = tmp_path_factory.mktemp("linear") / "first"
    fl.train(striped(60, 16), network=network, epochs=6, learning_rate=0.01, out=out, quiet=True)
    return out


@pytest.fixture(scope="module")
def rooted(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with the square root of features before its last layer."""
    layers = fl.open_run(first).recipe.network.layers
    network = [*layers[:-1], fl.layers.SquareRoot(epsilon=0.01), layers[-1]]
    out = tmp_path_factory.mktemp("linear") / "rooted"
    fl.train(striped(60, 16), network=network, epochs=6, learning_rate=0.01, out=out, quiet=True)
    return out


def begun(first: Path, out: Path, *settings: str) -> SavedModel:
    run = fl.train(other(60), start=first, settings=[*HEAD_ALONE, *settings], out=out, quiet=True)
    return load_model(open_run_folder(run.path))


def images(part: fl.Dataset) -> torch.Tensor:
    return torch.from_numpy(np.asarray(part.images_NHWC))


def test_only_the_last_layer_is_fitted_and_its_answers_are_logistic_regression_s(
    first: Path, tmp_path: Path
) -> None:
    saved, theirs = begun(first, tmp_path / "run"), load_model(open_run_folder(first))
    last = "dense1."
    for name, weight in theirs.model.state_dict().items():
        if not name.startswith(last):
            assert torch.equal(weight, saved.model.state_dict()[name]), name

    train, test = other(60)
    inside_NF = features(theirs.model, theirs.preprocess(images(train))).numpy()
    test_NF = features(theirs.model, theirs.preprocess(images(test))).numpy()
    regression = LogisticRegression(C=10.0, max_iter=2000).fit(inside_NF, train.labels_N)
    with torch.inference_mode():
        ours_N = saved.model(saved.preprocess(images(test))).argmax(dim=1).numpy()
    agree = (ours_N == regression.predict(test_NF)).mean()
    assert agree > 0.9


def test_the_last_layer_is_fitted_to_the_square_root_where_the_network_takes_it(
    rooted: Path, tmp_path: Path
) -> None:
    saved, theirs = begun(rooted, tmp_path / "run"), load_model(open_run_folder(rooted))
    train, test = other(60)
    inside_NF = features(theirs.model, theirs.preprocess(images(train))).numpy()
    test_NF = features(theirs.model, theirs.preprocess(images(test))).numpy()
    assert inside_NF.min() == 0, "they are those before the root, whose least is a tenth"
    root_NF, test_root_NF = np.sqrt(inside_NF + 0.01), np.sqrt(test_NF + 0.01)
    regression = LogisticRegression(C=10.0, max_iter=2000).fit(root_NF, train.labels_N)
    with torch.inference_mode():
        ours_N = saved.model(saved.preprocess(images(test))).argmax(dim=1).numpy()
    assert (ours_N == regression.predict(test_root_NF)).mean() > 0.9


def test_a_head_alone_is_calibrated_on_every_image_and_recorded_as_epoch_0(
    first: Path, tmp_path: Path
) -> None:
    saved = begun(first, tmp_path / "run")
    assert saved.calibration is not None
    assert saved.calibration.images == 60  # each by heads that were fitted without it
    (row,) = read_epochs(RunFolder(tmp_path / "run"))
    assert (row["epoch"], row["steps"]) == (0, 0)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 0
    assert 0.5 < summary["kept_epoch"]["validation_accuracy"] <= 1


def test_epochs_that_make_it_worse_are_not_kept(first: Path, tmp_path: Path) -> None:
    alone = begun(first, tmp_path / "alone")
    wild = ("train.epochs=3", "train.patience=3", "optimizer.learning_rate=5.0")
    spoilt = begun(first, tmp_path / "spoilt", *wild)
    rows = read_epochs(RunFolder(tmp_path / "spoilt"))
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    kept = json.loads((tmp_path / "spoilt" / "summary.json").read_text())["kept_epoch"]
    assert kept["epoch"] == 0
    ours, theirs = spoilt.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    assert spoilt.calibration == alone.calibration


@pytest.mark.parametrize("start", ["first", "rooted"])
def test_held_out_images_of_a_head_alone_are_answered_from_their_features(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    first: Path = request.getfixturevalue(start)
    begun(first, tmp_path / "tuned", "train.epochs=1", "train.patience=1")
    watched = read_epochs(RunFolder(tmp_path / "tuned"))[0]  # by a plain pass of the network

    def refuse(*_: object) -> None:
        raise AssertionError("features are there")

    monkeypatch.setattr(Trainer, "watch", refuse)
    begun(first, tmp_path / "alone")
    (row,) = read_epochs(RunFolder(tmp_path / "alone"))
    assert row["validation_accuracy"] == watched["validation_accuracy"]
    assert row["validation_loss"] == pytest.approx(watched["validation_loss"], rel=0.02)


@pytest.mark.parametrize(("norm", "moves"), [("kept", False), ("learned", True)])
def test_batch_norm_keeps_its_statistics_where_that_is_asked_for(
    first: Path, tmp_path: Path, norm: str, moves: bool
) -> None:
    saved = begun(first, tmp_path / "run", "train.epochs=1", f"train.start_norm={norm}")
    name = "batch_norm1.running_mean"
    theirs = load_model(open_run_folder(first)).model.state_dict()
    (name,) = (one for one in theirs if one.endswith("running_mean"))
    assert torch.equal(theirs[name], saved.model.state_dict()[name]) != moves


def test_a_stopped_run_goes_on_to_the_same_bits(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = [*HEAD_ALONE, "train.epochs=2", "train.patience=2", "optimizer.learning_rate=1e-4"]

    def second(out: Path) -> fl.Run:
        return fl.train(other(60), start=first, settings=longer, out=out, quiet=True)

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
    stopped = fl.resume(tmp_path / "stopped", other(60), quiet=True)
    names = ("model.safetensors", "recipe.toml")
    for name in names:
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_a_rescaling_behind_the_last_layer_is_reckoned_with(tmp_path: Path) -> None:
    network = [
        *(fl.layers.Conv(8, kernel=3), fl.layers.GlobalMaxPool()),
        *(fl.layers.Dense("classes"), fl.layers.Rescale(0.01)),
    ]
    out = tmp_path / "first"
    run = fl.train(striped(60, 16), network=network, epochs=1, out=out, quiet=True)
    alone = fl.train(
        other(60), start=run.path, settings=[*HEAD_ALONE], out=tmp_path / "run", quiet=True
    )
    kept = read_epochs(RunFolder(alone.path))[0]
    assert kept["train_loss"] is not None and kept["train_loss"] < 1.0  # ln 3 = 1.1 is a guess
    assert alone.evaluate().accuracy > 0.5


def test_a_last_layer_without_a_bias_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    settings = [*whitened_net(8, 12), "train.epochs=1", "train.batch_size=20"]
    out = tmp_path / "first"
    fl.train(striped(60, 16), "cifar10-quick", settings=settings, out=out, quiet=True)
    with pytest.raises(UserError, match="needs a network whose last layer is dense"):
        fl.train(other(60), start=out, settings=[*HEAD_ALONE], out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_is_refused(first: Path, tmp_path: Path, command: Command) -> None:
    with pytest.raises(UserError, match=r"train\.epochs must be above 0, not 0"):
        Recipe(name="any").with_settings(["train.epochs=0"])
    for choice in ("start_head=linear", "start_norm=kept"):
        with pytest.raises(UserError, match=f"{choice.partition('=')[0]} is read with"):
            Recipe(name="any").with_settings([f"train.{choice}"])
    done = command("train", "digits", "--from", "no-such-thing", "--out", "run")
    assert done.code == 2
    assert not Path("run").exists()
