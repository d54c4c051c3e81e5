"""A last layer that is fitted to features before the first step."""

import json
import re
import shutil
from collections.abc import Sequence
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
from firstlight.recipe import Recipe, load_recipe
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import RunFolder, open_run_folder
from firstlight.runs.record import read_epochs
from firstlight.training.loop import Trainer

HEAD_ALONE = ("train.start_head=linear", "train.epochs=0")
SMALL = ("train.batch_size=20", "augment=[]")
"""Settings of the epochs that follow."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a network of stripes, with batch norm."""
    network = [
        *(fl.layers.Conv(8, kernel=3, bias=False), fl.layers.BatchNorm()),
        *(fl.layers.Activation("relu"), fl.layers.GlobalMaxPool(), fl.layers.Dense("classes")),
    ]
    out = tmp_path_factory.mktemp("linear") / "first"
    fl.train(striped(60, 16), network=network, epochs=6, learning_rate=0.01, out=out, quiet=True)
    return out


@pytest.fixture(scope="module")
def rooted(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same, with the square root of features before its last layer."""
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
    assert saved.calibration.images == 60  # each predicted by heads that were fitted without it
    (row,) = read_epochs(RunFolder(tmp_path / "run"))
    assert (row["epoch"], row["steps"]) == (0, 0)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 0
    assert 0.5 < summary["kept_epoch"]["validation_accuracy"] <= 1


def test_epochs_that_make_it_worse_are_not_kept(first: Path, tmp_path: Path) -> None:
    alone = begun(first, tmp_path / "alone")
    wild = (*SMALL, "train.epochs=3", "train.patience=3", "optimizer.learning_rate=100.0")
    spoilt = begun(first, tmp_path / "spoilt", *wild)
    rows = read_epochs(RunFolder(tmp_path / "spoilt"))
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    kept = json.loads((tmp_path / "spoilt" / "summary.json").read_text())["kept_epoch"]
    assert kept["epoch"] == 0, rows
    ours, theirs = spoilt.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    assert spoilt.calibration == alone.calibration


@pytest.mark.parametrize("start", ["first", "rooted"])
def test_held_out_images_of_a_head_alone_are_answered_from_their_features(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    first: Path = request.getfixturevalue(start)
    begun(first, tmp_path / "tuned", *SMALL, "train.epochs=1", "train.patience=1")
    watched = read_epochs(RunFolder(tmp_path / "tuned"))[0]  # by a plain pass of the network

    def refuse(*_: object) -> None:
        raise AssertionError("features are there")

    monkeypatch.setattr(Trainer, "predict", refuse)
    begun(first, tmp_path / "alone")
    (row,) = read_epochs(RunFolder(tmp_path / "alone"))
    assert row["validation_accuracy"] == watched["validation_accuracy"]
    assert row["validation_loss"] == pytest.approx(watched["validation_loss"], rel=0.02)


@pytest.mark.parametrize(("norm", "moves"), [("kept", False), ("learned", True)])
def test_batch_norm_keeps_its_statistics_where_that_is_asked_for(
    first: Path, tmp_path: Path, norm: str, moves: bool
) -> None:
    saved = begun(first, tmp_path / "run", *SMALL, "train.epochs=1", f"train.start_norm={norm}")
    name = "batch_norm1.running_mean"
    theirs = load_model(open_run_folder(first)).model.state_dict()
    (name,) = (one for one in theirs if one.endswith("running_mean"))
    assert torch.equal(theirs[name], saved.model.state_dict()[name]) != moves


def test_a_stopped_run_goes_on_to_the_same_bits(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = [
        *HEAD_ALONE,
        *SMALL,
        "train.epochs=2",
        "train.patience=2",
        "optimizer.learning_rate=1e-4",
    ]

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


def head_bits(first: Path, out: Path, settings: Sequence[str]) -> bytes:
    """Return the weights, the calibration and the records of a fitted last layer."""
    train, test = other(60)
    uneven = train.take(np.flatnonzero((train.labels_N != 2) | (np.arange(60) < 36)))
    data, rest = fl.TrainTest(uneven, test), [*HEAD_ALONE, *settings]
    run = fl.train(data, start=first, settings=rest, out=out, quiet=True)
    saved, (row,) = load_model(open_run_folder(run.path)), read_epochs(RunFolder(run.path))
    weights = [weight.numpy().tobytes() for weight in saved.model.state_dict().values()]
    return b"".join(weights) + repr((saved.calibration, {**row, "train_seconds": 0})).encode()


CHANGED = {
    "train.epochs": "0.5",
    "train.replanned": "[[0.1, 3.0]]",
    "train.epoch_share": "0.5",
    "train.small_share": "0.3",
    "train.batch_size": "7",
    "train.micro_batch_size": "8",
    "train.shards": "2",
    "train.clip_norm": "0.5",
    "train.validation": "none",
    "train.held_out_fraction": "0.3",
    "train.patience": "2",
    "train.average_decay": "0.5",
    "train.precision": "mixed",
    "train.label_smoothing": "0.2",
    "train.class_weights": "balanced",
    "train.start_head": "random",
    "train.start_norm": "kept",
    "train.start_rate": "0.7",
    "train.seed": "5",
    "augment": "[{ rotate = 5 }]",
    "optimizer.name": "sgd",
    "schedule.name": "cosine",
    "network.pixels": "standardize",
    "network.views": "mirror",
    "network.2.epsilon": "0.1",
    "network.2.momentum": "0.3",
    "network.1.init": "he",
}
READ = (
    *("train.epochs", "train.validation", "train.held_out_fraction", "train.class_weights"),
    *("network.views", "network.2.epsilon"),
)


def test_every_key_of_a_fitted_last_layer_changes_its_bits_or_is_refused(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = fl.train(
        other(60), start=first, settings=[*HEAD_ALONE], out=tmp_path / "plain", quiet=True
    ).recipe
    elsewhere = ("name", "description", "format", "train.start_from", "train.start_weights")
    numbered = re.compile(r"(network|augment)[.]\d+$")
    keys = [key for key in recipe.settings() if key not in elsewhere and not numbered.match(key)]
    changed = {key: "0.123" for key in keys if key.startswith(("optimizer.", "schedule."))}
    changed |= CHANGED
    assert set(keys) <= set(changed)
    before = head_bits(first, tmp_path / "before", [])
    assert before == head_bits(first, tmp_path / "again", []), "nothing else changes them"
    for key, value in changed.items():
        setting = f"{key}={value}"
        if key in ("train.epochs", "train.start_head"):  # a training, or what no training can be
            assert key == "train.epochs" or refusal(first, setting), key
        elif key in READ:
            assert head_bits(first, tmp_path / key, [setting]) != before, key
        else:
            assert refusal(first, setting), key


def refusal(first: Path, setting: str) -> str:
    with pytest.raises(UserError) as refused:
        fl.train(other(60), start=first, settings=[*HEAD_ALONE, setting], quiet=True)
    assert not Path("runs").exists()
    return str(refused.value)


@pytest.mark.parametrize(
    ("words", "named", "source"),
    [
        ({"learning_rate": 0.1}, "optimizer.learning_rate", "learning_rate"),
        ({"batch_size": 8}, "train.batch_size", "batch_size"),
        ({"seed": 3}, "train.seed", "seed"),
        ({"augment": [fl.augment.Rotate(5)]}, "augment", "fl.train"),
        ({"optimizer": fl.SGD()}, "optimizer", "fl.train"),
        ({"schedule": fl.OneCycle()}, "schedule", "fl.train"),
        ({"settings": [*HEAD_ALONE, "augment=[]"]}, "augment", "fl.train"),
    ],
)
def test_what_does_nothing_without_epochs_is_refused_in_the_words_it_came_in(
    first: Path, words: dict[str, Any], named: str, source: str
) -> None:
    given = {"settings": HEAD_ALONE, "quiet": True, **words}
    with pytest.raises(UserError) as refused:
        fl.train(other(60), start=first, **given)
    assert str(refused.value).startswith(f"{source}: {named} does nothing here: train.epochs is 0")


def test_the_command_and_the_estimator_refuse_it_too(
    first: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = other(60).train
    np.savez("set.npz", images=data.images_NHWC, labels=data.labels_N)
    fitted = [word for setting in HEAD_ALONE for word in ("--set", setting)]
    words = ("train", "set.npz", "--from", first, *fitted, "--quiet", "--out", "run")
    for more, told in (
        (("--seed", "3"), "--seed: train.seed does nothing here"),
        (("--patience", "3"), "--patience: train.patience does nothing here"),
        (("--set", "augment=[]"), "--set: augment does nothing here"),
        (("--set", "optimizer.name=sgd"), "--set: optimizer.name does nothing here"),
    ):
        done = command(*words, *more)
        assert (done.code, told in done.err) == (2, True), done.err
        assert not Path("run").exists()
    # Without held-out images there is no early stopping, so this setting is needed.
    done = command(*words, "--set", "train.validation=none", "--patience", "0")
    assert done.code == 0, done.err
    shutil.rmtree("run")
    monkeypatch.setenv("FIRSTLIGHT_SEED", "3")  # for all commands of a shell
    assert command(*words).code == 0
    with pytest.raises(UserError, match=r"settings: train\.batch_size does nothing here"):
        fl.FirstlightClassifier(start=first, settings=[*HEAD_ALONE, "train.batch_size=8"]).fit(
            data.images_NHWC, data.labels_N
        )
    estimator = fl.FirstlightClassifier(start=first, settings=HEAD_ALONE, seed=3)
    assert estimator.fit(data.images_NHWC, data.labels_N).recipe_.train.epochs == 0


def test_a_budget_too_short_for_epochs_refuses_what_is_of_epochs(first: Path) -> None:
    settings = ["train.start_head=linear", "optimizer.learning_rate=0.1"]
    with pytest.raises(UserError, match="learning_rate does nothing here"):
        fl.train(other(60), start=first, settings=settings, budget=20, quiet=True)


def test_a_recipe_file_may_say_what_is_of_epochs_and_is_told_of_it(
    first: Path, command: Command
) -> None:
    data = other(60).train
    np.savez("set.npz", images=data.images_NHWC, labels=data.labels_N)
    text = load_recipe("digits-tutorial").to_toml()
    changes = {"epochs": "0", "start_head": '"linear"', "seed": "7", "start_from": f'"{first}"'}
    for key, value in changes.items():
        (before,) = re.findall(rf"(?m)^{key} = .*$", text)
        text = text.replace(before, f"{key} = {value}")
    Path("mine.toml").write_text(text)
    words = ("train", "set.npz", "--recipe", "mine.toml", "--from", first, "--quiet")
    done = command(*words, "--out", "run")
    assert done.code == 0, done.err
    (told,) = [line for line in done.err.splitlines() if "have no effect" in line]
    assert "train.seed" in told and "train.epochs is 0" in told
    assert "start_from" not in told
    done = command(*words, "--epochs", "0.1", "--out", "longer")
    assert "have no effect" not in done.err


def test_what_cannot_be_is_refused(first: Path, tmp_path: Path, command: Command) -> None:
    with pytest.raises(UserError, match=r"train\.epochs must be above 0, not 0"):
        Recipe(name="any").with_settings(["train.epochs=0"])
    for choice in ("start_head=linear", "start_norm=kept"):
        with pytest.raises(UserError, match=f"{choice.partition('=')[0]} only has an effect with"):
            Recipe(name="any").with_settings([f"train.{choice}"])
    done = command("train", "digits", "--from", "no-such-thing", "--out", "run")
    assert done.code == 2
    assert not Path("run").exists()
