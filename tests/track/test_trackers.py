"""Trackers copy what the run folder says, and what goes wrong with them ends no training.

TensorBoard's and MLflow's files are read back by their own readers. For Trackio and Weights &
Biases stand-ins with their signatures are asked (``tests/track/stand_ins``).
"""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tests.kit import Command
from tests.track.raising import Raising

import firstlight as fl
from firstlight import track
from firstlight.errors import RunInterruptedError, UserError
from firstlight.runs.folder import RunFolder
from firstlight.track.__main__ import Copier
from firstlight.verbs.track import Copies

STAND_INS = Path(__file__).parent / "stand_ins"
CURVES = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "learning_rate": "learning_rate",
}


def epochs_of(run: Path, column: str) -> list[tuple[int, float]]:
    """What ``epochs.csv`` says, read with Python's own reader."""
    with (run / "epochs.csv").open(newline="") as file:
        return [(int(row["epoch"]), float(row[column])) for row in csv.DictReader(file)]


Calls = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """The stand-ins take the places of the packages; returns what was called."""
    place = tmp_path / "calls.jsonl"
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [STAND_INS, *_given()])))
    monkeypatch.setenv("STAND_IN_CALLS", str(place))
    return lambda: [json.loads(line) for line in place.read_text().splitlines()]


def _given() -> list[str]:
    return list(filter(None, [os.environ.get("PYTHONPATH")]))


# Read back by their own readers


@pytest.fixture
def evaluated(digits_run: fl.Run, tmp_path: Path) -> Path:
    """A copy of an evaluated run with its report."""
    shutil.copytree(digits_run.path, tmp_path / "runs" / "digits-1")
    return tmp_path / "runs" / "digits-1"


def test_tensorboard_reads_the_epochs_the_settings_the_test_metrics_and_the_pictures(
    command: Command, evaluated: Path, tmp_path: Path
) -> None:
    done = command("track", "runs/digits-1", "--to", "tensorboard")
    assert done.code == 0, done.err
    assert "tensorboard --logdir runs/tensorboard" in done.out
    read = EventAccumulator(
        str(tmp_path / "runs" / "tensorboard" / "digits-1"),
        size_guidance={"scalars": 0, "images": 0, "tensors": 0},
    ).Reload()
    for column, tag in CURVES.items():
        found = [(one.step, one.value) for one in read.Scalars(tag)]
        assert found == [(n, pytest.approx(v)) for n, v in epochs_of(evaluated, column)]
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert read.Scalars("test/accuracy")[0].value == pytest.approx(metrics["accuracy"])
    (picture,) = read.Images("figures/confusion_counts")
    assert picture.encoded_image_string == (evaluated / "figures/confusion_counts.png").read_bytes()
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    recipe = fl.open_run(evaluated).recipe
    assert told["optimizer.learning_rate"].number_value == recipe.optimizer.learning_rate
    assert told["data"].string_value == "digits"


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_reads_a_run_that_was_copied_and_what_was_copied_again_later(
    command: Command, evaluated: Path, tmp_path: Path
) -> None:
    (evaluated / "metrics.json").rename(evaluated / "later.json")
    done = command("track", evaluated, "--to", "mlflow")
    assert done.code == 0, done.err
    here = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = here.get_experiment_by_name("firstlight")
    assert experiment is not None
    (run,) = here.search_runs([experiment.experiment_id])
    assert run.info.run_name == "digits-1"
    assert run.info.status == "FINISHED"
    recipe = fl.open_run(evaluated).recipe
    assert float(run.data.params["optimizer.learning_rate"]) == recipe.optimizer.learning_rate
    assert run.data.params["data"] == "digits"
    assert "test/accuracy" not in run.data.metrics
    artifacts = Path(run.info.artifact_uri)
    for kept, own in (("model/model.safetensors", "model.safetensors"),
                      ("figures/trust.png", "figures/trust.png")):  # fmt: skip
        assert (artifacts / kept).read_bytes() == (evaluated / own).read_bytes()

    (evaluated / "later.json").rename(evaluated / "metrics.json")
    assert command("track", evaluated).code == 0
    (run,) = here.search_runs([experiment.experiment_id])
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert run.data.metrics["test/accuracy"] == pytest.approx(metrics["accuracy"])
    for column, tag in CURVES.items():  # none of them twice
        found = [(one.step, one.value) for one in here.get_metric_history(run.info.run_id, tag)]
        assert found == epochs_of(evaluated, column)


# While a run is trained


def test_a_run_that_is_tracked_has_the_bits_of_one_that_is_not(
    command: Command, calls: Calls, tmp_path: Path
) -> None:
    words = ("train", "digits", "--epochs", "2", "--quiet")
    assert command(*words, "--out", "alone").code == 0
    done = command(*words, "--out", "runs/one", "--track", "tensorboard", "--track", "wandb")
    assert done.code == 0, done.err
    one, alone = tmp_path / "runs" / "one", tmp_path / "alone"
    assert (one / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
    read = EventAccumulator(str(tmp_path / "runs/tensorboard/one")).Reload()
    assert [e.step for e in read.Scalars("train/loss")] == [1, 2]
    made = calls()
    assert made[0] == {
        "call": "init",
        "project": "firstlight",
        "name": "one",
        "resume": "allow",
        "id": json.loads((one / "tracking" / "wandb.json").read_text())["key"],
    }
    logged = [(c["step"], c["values"]["train/loss"]) for c in made if c["call"] == "log"]
    assert logged == epochs_of(one, "train_loss")
    (files,) = (c["files"] for c in made if c["call"] == "log_artifact")
    assert files == ["model.safetensors", "recipe.toml", "summary.json"]
    assert made[-1] == {"call": "finish", "exit_code": 0}


def test_a_run_that_was_stopped_and_resumed_is_one_run_of_the_tracker(
    command: Command, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from firstlight.verbs import fit

    say = fit._stopped
    looked = Copies.look

    def stop(self: Copies) -> None:
        looked(self)
        raise say(RunFolder(tmp_path / "run"), None, "stopped")

    with monkeypatch.context() as patch:
        patch.setattr(fit, "LEAST_SECONDS", -1.0)  # each epoch is saved
        patch.setattr(Copies, "look", stop)
        first = command("train", "digits", "--epochs", "3", "--out", "run", "--track", "wandb")
    assert first.code == RunInterruptedError.exit_code
    assert calls()[-1] == {"call": "finish", "exit_code": 1}
    assert command("train", "--resume", "run", "--track", "wandb").code == 2
    assert command("train", "--resume", "run", "--quiet").code == 0
    begun = [c for c in calls() if c["call"] == "init"]
    assert len(begun) == 2
    assert begun[0]["id"] == begun[1]["id"]
    logged = [(c["step"], c["values"]["train/loss"]) for c in calls() if c["call"] == "log"]
    assert logged == epochs_of(tmp_path / "run", "train_loss")


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        ("init:raise", "wandb: ConnectionError: init was refused. The training does not"),
        ("log:crash", "wandb: its process ended before everything was copied."),
    ],
)
def test_a_tracker_that_fails_is_told_in_one_line_and_the_training_goes_on(
    command: Command, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: str,
    told: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("STAND_IN_FAILS", fails)
    done = command("train", "digits", "--epochs", "1", "--out", "run", "--track", "wandb")
    assert done.code == 0, done.err
    assert [told in line for line in done.out.splitlines()].count(True) == 1
    assert "firstlight track run --to wandb" in done.out
    assert RunFolder(tmp_path / "run").finished
    monkeypatch.delenv("STAND_IN_FAILS")
    assert command("track", "run").code == 0
    assert [c["step"] for c in calls() if c["call"] == "log"][-1] == 1


def test_what_goes_wrong_is_told_also_where_nothing_else_is(
    command: Command, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "init:raise")
    words = ("train", "digits", "--epochs", "1", "--quiet", "--track", "wandb")
    done = command(*words, "--out", "run")
    assert done.code == 0
    assert done.err.startswith("wandb: ConnectionError: init was refused. ")


def test_a_tracker_that_hangs_is_ended(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, evaluated: Path
) -> None:
    """It waits for ever in its first call, so any patience ends."""
    monkeypatch.setenv("STAND_IN_FAILS", "init:hang")
    said = list[str]()
    copies = Copies(RunFolder(evaluated), ["wandb"], said.append, said.append)
    process = copies._running["wandb"]._process
    copies.close(0.1)
    assert process.returncode is not None
    (line,) = said
    assert line.startswith("wandb: it gave no sign of life")


# Each method of the protocol


@pytest.mark.parametrize(
    "method", ["open", "settings", "epoch", "results", "picture", "file", "flush", "end"]
)
def test_whatever_raises_is_told_and_what_was_not_copied_is_copied_the_next_time(
    monkeypatch: pytest.MonkeyPatch, evaluated: Path, method: str
) -> None:
    monkeypatch.setitem(track.TRACKERS, "raising", ("json", "tests.track.raising:Raising"))
    reading, writing = os.pipe()
    monkeypatch.setattr(Raising, "fails", method)
    copier = Copier("raising", evaluated, writing)
    assert not copier.look(last=True)
    monkeypatch.setattr(Raising, "fails", "")
    assert copier.look(last=True)
    os.close(writing)
    with os.fdopen(reading) as file:
        lines = [json.loads(line) for line in file]
    failed = [line["failed"] for line in lines if "failed" in line]
    assert failed == ["OSError: [Errno 28] No space left on device"]
    copied = json.loads((evaluated / "tracking" / "raising.json").read_text())
    assert copied["epoch"] == 6
    assert "figures/trust.png" in copied["files"]


# What is refused before a training


def test_what_cannot_be_used_is_refused_before_anything_is_trained(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("firstlight.track.find_spec", lambda _: None)
    done = command("train", "digits", "--track", "mlflow")
    assert done.code == 2
    assert "pip install 'firstlight[mlflow]'" in done.err
    assert list(tmp_path.iterdir()) == []
    done = command("train", "digits", "--track", "mlfow")
    assert done.code == 2
    assert "did you mean mlflow?" in done.err
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'"):
        fl.train("digits", track="tensorbord")


def test_a_run_that_was_never_tracked_asks_for_a_tracker(command: Command, evaluated: Path) -> None:
    done = command("track", evaluated)
    assert done.code == 2
    assert "--to tensorboard" in done.err


def test_a_name_from_a_run_folder_is_no_path(command: Command, evaluated: Path) -> None:
    (evaluated / "tracking").mkdir()
    (evaluated / "tracking/tensorboard.json").write_text('{"key": "../../outside"}')
    assert command("track", evaluated).code == 0
    assert (evaluated.parent / "tensorboard" / "outside").is_dir()
    assert not (evaluated.parent.parent / "outside").exists()


def test_a_damaged_record_of_what_was_copied_is_said_to_be_damaged(
    command: Command, evaluated: Path
) -> None:
    (evaluated / "tracking").mkdir()
    (evaluated / "tracking/tensorboard.json").write_text('{"keys": 1}')
    done = command("track", evaluated)
    assert done.code == 3
    assert "do not match each other" in done.err


def test_trackio_is_given_the_epochs_with_the_settings_and_the_pictures(
    command: Command, calls: Calls, evaluated: Path
) -> None:
    done = command("track", evaluated, "--to", "trackio")
    assert done.code == 0, done.err
    first, *rest = calls()
    assert first == {"call": "init", "project": "firstlight", "name": "digits-1",
                     "resume": "never"}  # fmt: skip
    logged = [c for c in rest if c["call"] == "log"]
    assert logged[0]["config"]["data"] == "digits"
    curve = [(c["step"], c["values"]["train/loss"]) for c in logged if "train/loss" in c["values"]]
    assert curve == epochs_of(evaluated, "train_loss")
    assert any("figures/trust" in c["values"] for c in logged)
    files = [c["name"] for c in rest if c["call"] == "log_artifact"]
    assert files == [f"digits-1-{name}" for name in ("model.safetensors", "recipe.toml",
                                                     "summary.json")]  # fmt: skip
    told = command("evaluate", evaluated)
    assert f"to copy it to trackio: firstlight track {evaluated}" in told.out
    assert command("track", evaluated).code == 0
    (again,) = (c for c in calls() if c.get("resume") == "allow")
    assert again["name"] == "digits-1"
