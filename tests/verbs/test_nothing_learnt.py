"""A training that learned nothing says so, in every interface."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.kit import Command, striped, tutorial_net

import firstlight as fl
from firstlight.recipe import load_recipe

HOT = ("--set", "optimizer.learning_rate=100")
SMALL = [tutorial_net(4, 6), "train.epochs=2"]


def test_a_diverged_training_says_so_and_keeps_the_run(command: Command) -> None:
    done = command("train", "digits", *HOT, "--epochs", "1", "--out", "run", "--quiet")

    assert done.code == 4
    assert "the network has learned nothing: on 142 images it was not trained on" in done.err
    assert "The training diverged" in done.err
    assert "--set optimizer.learning_rate=10" in done.err
    assert "run run" in done.out
    kept = json.loads(Path("run/summary.json").read_text())["nothing_learnt"]
    assert kept in done.err

    evaluated = command("evaluate", "run")
    assert evaluated.code == 0
    assert "The network has learned nothing: " in evaluated.out
    assert "No better than a guess" in Path("run/report.html").read_text()
    assert json.loads(command("evaluate", "run", "--json").out)["nothing_learnt"]


@pytest.mark.parametrize("validation", ["none", "test"])
def test_it_is_said_however_the_run_is_watched(command: Command, validation: str) -> None:
    words = (*HOT, "--set", f"train.validation={validation}", "--epochs", "1")
    done = command("train", "digits", *words, "--json")
    assert done.code == 4
    assert json.loads(done.out)["nothing_learnt"]


def test_a_rate_that_is_too_small_is_not_told_to_be_smaller(command: Command) -> None:
    words = ("--set", "optimizer.learning_rate=1e-9", "--epochs", "1", "--quiet")
    done = command("train", "digits", *words)
    assert done.code == 4
    assert "Try more epochs or another learning rate" in done.err
    assert "diverged" not in done.err


def test_a_training_that_works_says_nothing(command: Command) -> None:
    done = command("train", "digits", "--epochs", "2", "--out", "run", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert json.loads(Path("run/summary.json").read_text())["nothing_learnt"] is None


def test_the_library_warns(tmp_path: Path) -> None:
    settings = [*SMALL, "optimizer.learning_rate=100", "train.validation=none"]
    with pytest.warns(fl.NothingLearntWarning, match="the network has learned nothing: on 100"):
        run = fl.train(
            striped(100, 14), "mnist-tutorial", settings=settings, out=tmp_path / "r", quiet=True
        )
    with pytest.warns(fl.NothingLearntWarning, match="the network has learned nothing: it gets"):
        run.evaluate()


def test_the_estimator_warns() -> None:
    train, _ = striped(100, 14)
    recipe = load_recipe("mnist-tutorial").with_settings([*SMALL, "optimizer.learning_rate=100"])
    with pytest.warns(fl.NothingLearntWarning):
        fl.FirstlightClassifier(recipe).fit(train.images_NHWC, train.labels_N)


def test_a_bench_tells_of_each_seed(command: Command) -> None:
    words = ("--set", "train.epochs=1", "--seeds", "1", "--out", "b.json")
    done = command("bench", "digits", *HOT, *words)
    assert done.code == 0
    assert "seed 0: the network has learned nothing" in done.err
    assert json.loads(Path("b.json").read_text())["runs"][0]["nothing_learnt"]


def test_small_classes_that_are_weighted_are_learnt(tmp_path: Path) -> None:
    """Nine of ten belong to one class: a lower accuracy than that is no failure if both are
    found."""
    rng = np.random.default_rng(0)
    labels_N = (np.arange(200) % 10 == 0).astype(np.int64)
    images_NHW = rng.integers(0, 60, (200, 14, 14), dtype=np.uint8)
    images_NHW[labels_N == 1] = rng.integers(120, 250, (20, 14, 14), dtype=np.uint8)
    data = fl.from_images(images_NHW, labels_N)
    run = fl.train(data, settings=["train.epochs=4"], out=tmp_path / "run", quiet=True)
    assert run.summary["nothing_learnt"] is None
