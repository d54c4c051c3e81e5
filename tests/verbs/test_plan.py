"""The plan of a training: one decision for the command, the library, the estimator and the rest."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from tests.kit import Command, striped

import firstlight as fl
from firstlight.devices import repeatable
from firstlight.errors import UserError
from firstlight.recipe import Recipe, Setting
from firstlight.verbs.plan import Asked, Budget, changed, plan, plan_on
from firstlight.verbs.run_data import DataRequest

STRIPES = DataRequest(name="stripes", data=striped())


def test_the_ways_in_train_the_same_network(command: Command, tmp_path: Path) -> None:
    """The same words, as options and as arguments, give the same recipe and the same weights."""
    words = ("--recipe", "digits-tutorial", "--epochs", "1", "--seed", "3")
    command("train", "digits", *words, "--set", "optimizer.learning_rate=0.01", "--out", "a")
    fl.train("digits", "digits-tutorial", learning_rate=0.01, epochs=1, seed=3, out="b", quiet=True)
    for name in ("recipe.toml", "model.safetensors"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name


def test_the_estimator_trains_the_plan_s_network() -> None:
    train, _ = striped()
    plain = ["train.validation=none", "train.epochs=1", "train.batch_size=20"]
    recipe = fl.load_recipe("digits-tutorial").with_settings(plain)
    estimator = fl.FirstlightClassifier(recipe)
    estimator.fit(train.images_NHWC, train.labels_N)
    job = plan_on(striped(), recipe)
    assert estimator.recipe_ == job.recipe
    with repeatable(job.threads, job.device):
        trainer = job.trainer()
        for _ in trainer.run():
            pass
    ours = trainer.answering.state_dict()
    for name, weight in estimator.model_.state_dict().items():
        assert torch.equal(weight, ours[name]), name


def test_settings_of_all_sources_are_taken_together(command: Command) -> None:
    """Patience needs held-out images: each of the two settings alone is refused."""
    recipe = fl.load_recipe("digits-tutorial").with_settings(["train.patience=3", "train.epochs=1"])
    Path("mine.toml").write_text(recipe.to_toml())
    words = ("train", "digits", "--recipe", "mine.toml", "--out", "run")
    assert command(*words, "--set", "train.validation=none").code == 2
    done = command(*words, "--set", "train.validation=none", "--patience", "0")
    assert done.code == 0, done.err
    chosen = tomllib.loads(Path("run/recipe.toml").read_text())["train"]
    assert (chosen["validation"], chosen["patience"]) == ("none", 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.epochs=-1", Setting("train.seed=1", "--seed")], "--set: train.epochs"),
        (["train.epochs=1", Setting("train.seed=-1", "--seed")], "--seed: train.seed"),
        ([Setting("train.epoch=1", "--epochs")], "--epochs: unknown key train.epoch"),
    ],
)
def test_a_message_names_the_option_that_it_is_about(
    settings: list[str | Setting], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        Recipe(name="any").with_settings(settings)


@pytest.mark.parametrize("first", ["--set", "fl.train"])
def test_what_two_options_say_differently_is_refused(first: str) -> None:
    one, other = Setting("train.epochs=3", first), Setting("train.epochs=1.0", "--epochs")
    with pytest.raises(UserError, match=f"train.epochs is given twice: 3 by {first}, 1.0 by --ep"):
        Recipe(name="any").with_settings([one, other])
    same = Setting("train.epochs=3.0", "--epochs")
    assert Recipe(name="any").with_settings([one, same]).train.epochs == 3
    last = Recipe(name="any").with_settings([one, Setting("train.epochs=5", first)])
    assert last.train.epochs == 5


def test_options_stand_above_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTLIGHT_EPOCHS", "5")
    words = ("train", "digits", "--limit", "100", "--set", "train.epochs=1", "--out", "a")
    command(*words)
    assert tomllib.loads(Path("a/recipe.toml").read_text())["train"]["epochs"] == 1
    refused = command(*words[:-1], "b", "--epochs", "2")
    assert refused.code == 2 and "leave one out" in refused.err and not Path("b").exists()


def test_a_rate_beside_an_optimizer_with_another_is_refused() -> None:
    with pytest.raises(UserError, match=r"given twice: 0\.2 by optimizer, 0\.1 by learning_rate"):
        fl.train(striped(), optimizer=fl.SGD(0.2), learning_rate=0.1, quiet=True)
    with pytest.raises(
        UserError, match=r"given twice: '?0\.2'? by fl\.train, 0\.1 by learning_rate"
    ):
        fl.train(striped(), settings="optimizer.learning_rate=0.2", learning_rate=0.1, quiet=True)


def test_a_rate_beside_an_optimizer_without_one_is_taken(tmp_path: Path) -> None:
    run = fl.train(
        striped(),
        optimizer=fl.SGD(momentum=0.5),
        learning_rate=0.1,
        epochs=1,
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.recipe.optimizer == fl.SGD(0.1, momentum=0.5)


def test_the_library_names_its_own_arguments() -> None:
    with pytest.raises(UserError, match=r"^epochs: train\.epochs"):
        fl.train(striped(), epochs=-1, quiet=True)
    with pytest.raises(UserError, match=r"^batch_size: train\.batch_size"):
        fl.train(striped(), batch_size=0, quiet=True)
    with pytest.raises(UserError, match=r"^budget chooses the epochs; leave out epochs$"):
        fl.train(striped(), epochs=2, budget=10, quiet=True)
    with pytest.raises(UserError, match=r"^fl\.train: train\.patience"):
        fl.train(striped(), settings="train.patience=-1", quiet=True)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), True, "3m"])
def test_a_budget_is_a_time(seconds: float) -> None:
    with pytest.raises(UserError, match="wanted a budget in seconds, above zero"):
        Budget(seconds=seconds, started=0.0)


def test_a_changed_job_keeps_data_device_and_start() -> None:
    job = plan(STRIPES, Asked(recipe=fl.load_recipe("digits-tutorial"), device="cpu"))
    other = changed(job, ["train.validation=none"])
    assert other.data is job.data
    assert other.device == job.device
    assert other.parts.validation is None
    assert len(other.parts.rows_M) == len(job.data.train)
    assert job.parts.validation is not None


def test_what_does_not_fit_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    small = [fl.layers.Conv(4, kernel=9), fl.layers.Flatten(), fl.layers.Dense("classes")]
    with pytest.raises(UserError, match="layer 1"):
        fl.train(striped(), network=small, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
