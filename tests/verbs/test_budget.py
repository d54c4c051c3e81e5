"""A budget on a machine that becomes slower half way, with a simulated clock."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.kit import whitened_net

import firstlight as fl
from firstlight.errors import RunInterruptedError
from firstlight.recipe import Recipe
from firstlight.training.loop import Trainer
from firstlight.training.pace import Pace
from firstlight.verbs import fit

SETTINGS = [
    *whitened_net(8, kernel=3),
    "train.small_share=0.8",
    "train.batch_size=100",
    "optimizer.name=muon",
    "optimizer.learning_rate=0.1",
    "schedule.name=one-cycle",
]


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A step takes a second, from the fortieth on a second and a half. At the step that is put into
    the dictionary the process dies."""
    now, death, plain = 0.0, {"step": -1}, Trainer._step

    def step(self: Trainer, *arguments: Any) -> None:
        nonlocal now
        if self.place.step == death["step"]:
            raise KeyboardInterrupt
        now += 1.0 if self.place.step < 40 else 1.5
        plain(self, *arguments)

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now)
    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(fit, "time", clock)
    monkeypatch.setattr("firstlight.training.pace.time", clock)
    monkeypatch.setattr("firstlight.library.time", clock)
    pace = Pace(small=1.0, whole=1.0, validation=0.0, last=0.0)
    monkeypatch.setattr("firstlight.verbs.plan.time", clock)
    monkeypatch.setattr("firstlight.verbs.plan.measure_pace", lambda *_: pace)
    return death


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_its_recipe_repeats_the_run_and_a_killed_one_is_taken_up(
    killed_at: dict[str, int], tmp_path: Path
) -> None:
    """Training uses 117.5 s of 120: 40 steps of a second and 51 of one and a half."""
    run = fl.train("digits", settings=SETTINGS, budget=120, out=tmp_path / "run", quiet=True)

    (turn, planned), *more = run.recipe.train.replanned
    per_epoch = 13  # 1,294 images of digits, without held-out ones
    assert round(planned * per_epoch) == 117
    assert 40 < turn * per_epoch < 90 and len(more) <= 4
    assert 89 <= round(run.recipe.train.epochs * per_epoch) <= 92

    again = fl.train("digits", run.path / "recipe.toml", out=tmp_path / "again", quiet=True)
    assert weights(again.path) == weights(run.path)

    killed_at["step"] = round(turn * per_epoch) + 3  # the saved state is from before
    with pytest.raises(RunInterruptedError):
        fl.train("digits", settings=SETTINGS, budget=120, out=tmp_path / "killed", quiet=True)
    stopped = fl.load_recipe(tmp_path / "killed" / "recipe.toml").train
    killed_at["step"] = -1
    resumed = fl.resume(tmp_path / "killed", quiet=True)

    assert stopped.replanned == run.recipe.train.replanned[:1]
    assert resumed.recipe.train == stopped  # without a budget, nothing is planned again
    same = fl.train("digits", tmp_path / "killed" / "recipe.toml", out=tmp_path / "x", quiet=True)
    assert weights(resumed.path) == weights(same.path)


def test_other_epochs_leave_the_turns_out_and_impossible_ones_are_refused() -> None:
    cycle = Recipe(name="test").with_settings(["schedule.name=one-cycle"])
    recipe = cycle.with_settings(["train.epochs=4", "train.replanned=[[1.5, 6]]"])
    assert recipe.train.replanned == ((1.5, 6.0),)
    assert recipe.with_settings(["train.epochs=9"]).train.replanned == ()
    for turns in ("[[1.5, 1.2]]", "[[4, 6]]", "[[2, 6], [1, 5]]", "[[0, 6]]", "[[1, 1e308]]"):
        with pytest.raises(fl.UserError, match="Leave replanned out for a run of fixed length"):
            recipe.with_settings(["train.epochs=4", f"train.replanned={turns}"])
    for turns in ("[1.5, 6]", "[[1.5]]", "1.5"):
        with pytest.raises(fl.UserError, match=r"replanned must be a list of"):
            recipe.with_settings([f"train.replanned={turns}"])


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "10s", True])
def test_a_budget_that_is_no_time_is_refused(budget: Any, tmp_path: Path) -> None:
    with pytest.raises(fl.UserError, match="wanted a budget in seconds, above zero, got"):
        fl.train("digits", budget=budget, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_what_a_call_gives_is_named_in_what_it_is_told() -> None:
    with pytest.raises(fl.UserError, match="budget chooses the epochs; leave out epochs"):
        fl.train("digits", budget=60, epochs=2)
    with pytest.raises(fl.UserError, match=r"leave out train\.epochs=3"):
        fl.train("digits", budget=60, settings="train.epochs=3")
    with pytest.raises(fl.UserError, match=r"leave out train\.replanned=\[\] and epochs"):
        fl.train("digits", budget=60, epochs=2, settings="train.replanned=[]")
    with pytest.raises(fl.UserError, match=r"^epochs: train\.epochs must be above 0"):
        fl.train("digits", epochs=0)
    with pytest.raises(fl.UserError, match=r"^fl\.train: train\.epochs must be a number"):
        fl.train("digits", settings="train.epochs=many")


def test_choices_of_a_call_that_need_one_another_are_taken_together(tmp_path: Path) -> None:
    recipe = fl.load_recipe("mnist-quick").with_settings(["train.patience=3"])
    with pytest.raises(fl.UserError, match="no such"):  # the data, not the settings
        fl.train(tmp_path / "none", recipe, settings="train.validation=none", patience=0)
