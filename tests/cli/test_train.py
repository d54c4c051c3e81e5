"""``firstlight train``: its output, its files, and the effect of the environment."""

import csv
import json
import tomllib
from pathlib import Path

import pytest
import torch
from tests.kit import Command, whitened_net
from torch import Tensor
from torch.nn.functional import cross_entropy

import firstlight as fl
from firstlight.training.pace import Pace


def test_a_run_prints_a_line_an_epoch_and_the_way_on(command: Command, tmp_path: Path) -> None:
    done = command("train", "digits", "--epochs", "2")

    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert all(len(line) <= 80 for line in lines)
    assert lines[-3].startswith("validation accuracy ")
    trained_on = json.loads(Path("runs/digits-tutorial-1/data.json").read_text())["trained_on"]
    assert lines[-3].endswith(f" % of {1437 - trained_on} images")
    assert lines[-2:] == [
        "run runs/digits-tutorial-1",
        "next: firstlight evaluate runs/digits-tutorial-1",
    ]
    files = {p.name for p in (tmp_path / "runs" / "digits-tutorial-1").iterdir()}
    wanted = {"recipe.toml", "environment.json", "data.json", "epochs.csv", "model.safetensors"}
    assert files - {".lock"} == {*wanted, "layers.csv", "summary.json"}


def test_quiet_shows_no_progress_and_json_is_one_object(command: Command) -> None:
    quiet = command("train", "digits", "--epochs", "1", "--quiet")
    assert "epoch" not in quiet.out and quiet.err == ""

    done = command("train", "digits", "--epochs", "1", "--json")
    summary = json.loads(done.out)
    assert summary["run"] == "runs/digits-tutorial-2"
    assert summary["epochs"] == 1
    assert "epoch 1/1" in done.err


def test_the_resolved_recipe_is_kept(command: Command) -> None:
    words = ["--seed", "7", "--set", "network.1.filters=8", "--set", "augment=[{ rotate = 5 }]"]
    command("train", "digits", "--epochs", "1", *words, "--out", "here")

    recipe = tomllib.loads(Path("here/recipe.toml").read_text())

    assert recipe["train"]["seed"] == 7
    assert recipe["train"]["epochs"] == 1
    assert recipe["network"]["layers"][0] == {"conv": 8, "activation": "relu"}
    assert recipe["augment"] == [{"rotate": 5}]


def test_the_command_line_comes_before_the_environment_and_that_before_the_recipe(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTLIGHT_EPOCHS", "2")
    monkeypatch.setenv("FIRSTLIGHT_SEED", "5")

    by_environment = json.loads(command("train", "digits", "--json").out)
    by_command = json.loads(command("train", "digits", "--json", "--epochs", "1").out)

    assert (by_environment["epochs"], by_environment["seed"]) == (2, 5)
    assert (by_command["epochs"], by_command["seed"]) == (1, 5)


def test_a_recipe_file_of_a_run_repeats_the_run(command: Command) -> None:
    command("train", "digits", "--epochs", "2", "--seed", "3", "--out", "first", "--quiet")
    command("train", "digits", "--recipe", "first/recipe.toml", "--out", "again", "--quiet")

    first, again = (Path(run, "model.safetensors").read_bytes() for run in ("first", "again"))
    assert first == again


def test_another_seed_gives_other_weights(command: Command) -> None:
    for seed in ("0", "1"):
        command("train", "digits", "--epochs", "1", "--seed", seed, "--out", seed, "--quiet")

    assert Path("0/model.safetensors").read_bytes() != Path("1/model.safetensors").read_bytes()


def test_limit_takes_so_many_images_of_each_part(command: Command) -> None:
    command("train", "digits", "--limit", "50", "--epochs", "1", "--out", "small", "--quiet")

    data = json.loads(Path("small/data.json").read_text())
    assert data["train"]["images"] == data["test"]["images"] == 50
    with Path("small/epochs.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1]


def test_nothing_finished_is_overwritten(command: Command, tmp_path: Path) -> None:
    command("train", "digits", "--epochs", "1", "--out", "mine", "--quiet")
    before = Path("mine/model.safetensors").read_bytes()

    again = command("train", "digits", "--epochs", "1", "--out", "mine", "--quiet")
    assert again.code == 2
    assert "mine holds a finished run, which is never overwritten" in again.err
    assert Path("mine/model.safetensors").read_bytes() == before

    resumed = command("train", "--resume", "mine")
    assert resumed.code == 2
    assert "mine is finished, so there is nothing to resume" in resumed.err

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    other = command("train", "digits", "--out", "full")
    assert other.code == 2
    assert "full is not empty and is not a run" in other.err


def test_a_loss_that_blows_up_stops_with_step_rate_and_advice(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(logits_BK: Tensor, labels_B: Tensor, **_: float) -> Tensor:
        return cross_entropy(logits_BK, labels_B) * torch.inf

    monkeypatch.setattr("firstlight.training.loss.cross_entropy", overflowing)
    done = command("train", "digits", "--set", "optimizer.learning_rate=0.5", "--quiet")

    assert done.code == 2
    for part in ("the loss became inf at step 1 ", "learning rate 0.5", "learning_rate=0.05"):
        assert part in done.err


def test_every_named_recipe_can_be_read_and_trains_a_step_where_its_data_is(
    command: Command,
) -> None:
    from firstlight.recipe import load_recipe, recipe_names

    for name in recipe_names():
        assert load_recipe(name).name == name
    done = command("train", "digits", "--recipe", "digits-tutorial", "--limit", "40", "--quiet")
    assert done.code == 0


def test_the_environment_yields_to_settings_and_does_not_hinder_resuming(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTLIGHT_EPOCHS", "1")
    command("train", "digits", "--set", "train.epochs=2", "--out", "set", "--quiet")
    assert tomllib.loads(Path("set/recipe.toml").read_text())["train"]["epochs"] == 2

    again = command("train", "--resume", "set")
    assert "set is finished" in again.err

    monkeypatch.setenv("FIRSTLIGHT_EPOCHS", "many")
    wrong = command("train", "digits")
    assert wrong.code == 2
    assert "FIRSTLIGHT_EPOCHS: train.epochs must be a number, not 'many'" in wrong.err


@pytest.mark.parametrize("text", ["0", "soon", "-3m", "3 weeks", ""])
def test_a_budget_that_is_no_time_is_refused(command: Command, text: str) -> None:
    done = command("train", "digits", "--budget", text)
    assert done.code == 2
    assert "--budget: wanted a time above zero, such as 90s, 3m or 1h" in done.err


def test_a_budget_chooses_the_epochs_and_its_recipe_repeats_the_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(small=1.0, whole=1.0, validation=2.0, last=5.0)  # as on a very slow machine
    monkeypatch.setattr("firstlight.verbs.plan.measure_pace", lambda *_: pace)
    monkeypatch.setattr("firstlight.training.pace.Deadline.look", lambda *_: False)  # it is not

    done = command("train", "digits", "--budget", "3m", "--out", "run", "--quiet")

    assert done.code == 0, done.err
    # 0.98 of 180 s, less what loading takes; an epoch of 41 batches of 32 takes 41 + 2 s.
    recipe = fl.load_recipe("run/recipe.toml")
    assert 3.0 < recipe.train.epochs <= (0.98 * 180) / 43
    again = command("train", "digits", "--recipe", "run/recipe.toml", "--out", "again", "--quiet")
    assert again.code == 0
    weights = [Path(f"{name}/model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]


def test_a_budget_too_small_for_one_epoch_says_how_much_is_needed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(small=1.0, whole=1.0, validation=2.0, last=5.0)
    monkeypatch.setattr("firstlight.verbs.plan.measure_pace", lambda *_: pace)

    done = command("train", "digits", "--budget", "40", "--out", "run")

    assert done.code == 2
    assert "one epoch takes about 46 s here. Give at least --budget" in done.err
    assert not Path("run").exists()


def test_a_budget_and_epochs_exclude_each_other(command: Command) -> None:
    done = command("train", "digits", "--budget", "1m", "--epochs", "2")
    assert done.code == 2
    assert "leave out --epochs" in done.err
    done = command("train", "digits", "--budget", "1m", "--set", "train.epochs=2")
    assert done.code == 2
    assert "--budget chooses the epochs; leave out train.epochs=2" in done.err


def test_patience_says_which_epoch_is_kept(command: Command) -> None:
    words = ("--patience", "1", "--set", "optimizer.learning_rate=0.02", "--epochs", "90")
    done = command("train", "digits", *words, "--out", "run")

    assert done.code == 0, done.err
    with Path("run/epochs.csv").open() as file:
        losses = [float(row["validation_loss"]) for row in csv.DictReader(file)]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 1 < 90
    assert f" after epoch {best}, whose weights are kept" in done.out
    assert json.loads(Path("run/summary.json").read_text())["kept_epoch"]["epoch"] == best


@pytest.mark.parametrize(
    ("settings", "at_once", "advice"),
    [
        ((), 32, "--set train.micro_batch_size=16 (gradient accumulation: the same batches"),
        (("train.micro_batch_size=9",), 9, "--set train.micro_batch_size=4 (gradient"),
        (("train.batch_size=9", "train.micro_batch_size=90"), 9, "train.micro_batch_size=4"),
        (("train.batch_size=60000",), 1295, "train.micro_batch_size=647"),
        (("train.micro_batch_size=5",), 5, "Try a smaller network, or close other programs"),
    ],
)
def test_a_gpu_out_of_memory_is_told_what_to_try(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
    at_once: int,
    advice: str,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("firstlight.models.network.NetworkModule.forward", full)
    done = command("train", "digits", "--quiet", *(w for s in settings for w in ("--set", s)))

    assert done.code == 2
    assert f"too little free memory for {at_once} images at once" in done.err
    assert advice in done.err


def test_a_processor_out_of_memory_is_told_what_to_try(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object, **__: object) -> torch.Tensor:
        return torch.empty(2**50)

    monkeypatch.setattr("firstlight.models.network.NetworkModule.forward", too_much)
    done = command("train", "digits", "--quiet")
    assert done.code == 2
    assert "out of memory. Try gradient accumulation (--set train.micro_batch_size=N" in done.err
    assert "DefaultCPUAllocator" in done.err


def test_another_fault_of_pytorch_is_not_called_want_of_memory(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> torch.Tensor:
        return torch.zeros(2, 3) @ torch.zeros(2, 3)

    monkeypatch.setattr("firstlight.models.network.NetworkModule.forward", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        command("train", "digits", "--quiet")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ((*whitened_net(8), "train.batch_size=1"), "needs batches of two images or more"),
        (("augment=[{ crop = 8 }]",), "crop = 8 is too much for images of 8×8 pixels"),
        (
            (*whitened_net(8, 8, kernel=4), "train.small_share=0.5"),
            "small_share shrinks the images of 8×8, but the network does not fit images of "
            "6×6×1: layer 11 (max-pooling) gets maps of 1×1×8: its window of 2×2 pixels is larger; "
            'use fewer or smaller pools, padding = "same", or larger images. Use --set '
            "train.small_share=0",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_images_is_refused_before_there_is_a_run(
    command: Command, settings: tuple[str, ...], reason: str
) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    done = command("train", "digits", *words)
    assert (done.code, reason in done.err) == (2, True), done.err
    assert not Path("runs").exists()
