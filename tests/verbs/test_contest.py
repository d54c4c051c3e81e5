"""The user's own pictures: a pretrained network against one trained from scratch.

The backbone here is a small one with weights from stripes. The tests check that the better of the
two is kept, and that only the user's own pictures start such a contest.
"""

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.kit import Command, striped

import firstlight as fl
from firstlight.backbones import BACKBONES
from firstlight.backbones.efficientnet import EFFICIENTNET_LITE0
from firstlight.progress import Silent
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import open_run_folder
from firstlight.training.processes import Processes
from firstlight.verbs import cross_validation, held_out, several
from firstlight.verbs.held_out import Answered


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    network = [
        *(fl.layers.Conv(8, kernel=3, activation="relu"), fl.layers.GlobalMaxPool()),
        fl.layers.Dense("classes"),
    ]
    colour = [
        fl.Dataset(
            name=part.name,
            images_NHWC=part.images_NHWC.repeat(3, axis=3),
            labels_N=part.labels_N,
            class_names=part.class_names,
        )
        for part in striped(60, 32)
    ]
    out = tmp_path_factory.mktemp("backbone") / "run"
    run = fl.train(
        fl.TrainTest(*colour), network=network, epochs=8, learning_rate=0.02, out=out, quiet=True
    )
    return load_model(open_run_folder(run.path))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network trained from scratch uses few images."""
    monkeypatch.setattr("firstlight.verbs.choose.SEEN", 200)


@pytest.fixture
def toy(weights: SavedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a backbone called toy on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layers = weights.architecture.network.layers
    toy = replace(EFFICIENTNET_LITE0, name="toy", layers=lambda: layers)
    monkeypatch.setitem(BACKBONES, "toy", toy)
    monkeypatch.setattr("firstlight.backbones.weights.open_backbone", lambda _: weights)
    monkeypatch.setattr("firstlight.verbs.contest.backbone_here", lambda: "toy")


def pictures(path: Path, count: int = 130, size: int = 32) -> Path:
    """Write colour pictures of rows and columns as an .npz file."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 60, (count, size, size, 3), dtype=np.uint8)
    for at, image_HWC in enumerate(images):
        place = rng.integers(2, size - 2)
        image_HWC[(place, slice(None)) if at % 2 else (slice(None), place)] = (250, 200, 220)
    np.savez(path, images=images, labels=np.array(["column", "row"])[np.arange(count) % 2])
    return path


def accuracies(*folders: str) -> list[float]:
    return [
        json.loads(Path(one, "summary.json").read_text())["kept_epoch"]["validation_accuracy"]
        for one in folders
    ]


@pytest.mark.parametrize("better", ["toy", "from-scratch"])
def test_the_better_of_the_two_is_kept_and_the_other_lies_beside_it(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch, better: str
) -> None:
    def parts(folder: object) -> tuple[Answered, ...]:
        recipe = open_run_folder(Path(str(folder))).recipe()
        wins = bool(recipe.train.start_from) == (better == "toy")
        return (Answered(right=10, losses=(0.2 if wins else 0.5,) * 12),)

    monkeypatch.setattr("firstlight.verbs.contest._parts", parts)
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--out", "run")
    assert done.code in (0, 4), done.err
    assert "run run\n" in done.out
    assert "The better run is in run, the other in " in done.out
    other = "from-scratch" if better == "toy" else "toy"
    started = {
        name: open_run_folder(Path(name)).recipe().train.start_from
        for name in ("run", f"run-{other}")
    }
    assert started == {
        "run": "toy" if better == "toy" else "",
        f"run-{other}": "" if better == "toy" else "toy",
    }
    assert command("predict", "run", "own.npz").code in (0, 3)
    assert command("evaluate", "run").code == 0
    assert command("evaluate", f"run-{other}").code == 0


def test_the_smaller_log_loss_decides(toy: None, command: Command) -> None:
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--out", "run")
    assert done.code == 0, done.err
    (other,) = (path.name for path in Path().glob("run-*"))
    kept, lost = (json.loads(Path(one, "contest.json").read_text()) for one in ("run", other))
    assert kept["log_loss"] < lost["log_loss"]
    assert (kept["log_loss"], lost["log_loss"]) == (lost["other_log_loss"], kept["other_log_loss"])
    for one, right in zip((kept, lost), accuracies("run", other), strict=True):
        part = one["parts"][0]
        assert (len(part["losses"]), part["right"]) == (12, round(12 * right))


def test_where_few_pictures_do_not_tell_each_is_held_out_once(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides also predict the same pictures, in the same order."""
    labels: dict[str, list[list[int]]] = {"held_out": [], "cross_validation": []}
    real = held_out.answered
    for module in (held_out, cross_validation):
        name = module.__name__.rpartition(".")[2]

        def noted(
            answers: held_out.Answers, losses_N: np.ndarray | None = None, name: str = name
        ) -> Answered:
            labels[name].append(answers[1].tolist())
            return real(answers, losses_N)

        monkeypatch.setattr(module, "answered", noted)
    monkeypatch.setattr("firstlight.verbs.contest.is_clear", lambda *_: False)
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--out", "run", "--json")
    assert done.code == 0, done.err
    assert "12 held-out pictures are too few to tell which is better" in done.err
    told = json.loads(done.out)["compared_with"]
    described = json.loads(Path("run", "data.json").read_text())
    assert told["held_out"] == described["trained_on"] + 12
    backbone, (nothing, *_) = labels["held_out"][:5], labels["held_out"][5:]
    assert [nothing, *labels["cross_validation"]] == backbone
    assert sum(map(len, backbone)) == told["held_out"]


def test_it_is_clear_from_two_standard_errors_on() -> None:
    def answered(*losses: float) -> tuple[Answered, ...]:
        return (Answered(right=0, losses=losses),)

    # Differences 1, 2, 3, 4: mean 2.5, standard error 0.645. Minus 1.2 or 1.3: 2.01 or 1.86 of
    # them.
    assert held_out.is_clear(answered(1.0, 2.0, 3.0, 4.0), answered(1.2, 1.2, 1.2, 1.2))
    assert not held_out.is_clear(answered(1.0, 2.0, 3.0, 4.0), answered(1.3, 1.3, 1.3, 1.3))
    assert not held_out.is_clear(answered(1.0), answered(9.0))


@pytest.mark.parametrize(
    "words",
    [
        ("own.npz", "--from", "none", "--epochs", "1"),
        ("own.npz", "--epochs", "1"),
        ("own.npz", "--recipe", "digits-tutorial", "--epochs", "1", "--size", "20"),
        ("digits", "--epochs", "1"),
    ],
)
def test_only_pictures_without_other_wishes_begin_a_contest(
    toy: None, command: Command, words: tuple[str, ...]
) -> None:
    pictures(Path("own.npz"))
    done = command("train", *words, "--out", "run")
    assert done.code in (0, 4), done.err  # one epoch may teach nothing
    assert sorted(path.name for path in Path().glob("run*")) == ["run"]
    assert open_run_folder(Path("run")).recipe().train.start_from == ""


def test_a_backbone_is_started_from_by_name_also_by_the_library(toy: None, tmp_path: Path) -> None:
    run = fl.train(pictures(tmp_path / "own.npz"), start="toy", out=tmp_path / "run", quiet=True)
    assert run.recipe.train.start_from == "toy"
    assert run.recipe.train.start_head == "linear"
    assert run.evaluate().accuracy > 0.7


def test_a_backbones_features_go_into_the_last_layer_as_square_roots(
    toy: None, tmp_path: Path
) -> None:
    data = pictures(tmp_path / "set.npz")
    run = fl.train(data, start="toy", epochs=0, out=tmp_path / "run", quiet=True)
    assert [layer.kind for layer in run.recipe.network.layers[-2:]] == ["square-root", "dense"]
    again = fl.train(data, run.recipe, out=tmp_path / "again", quiet=True)
    assert again.recipe.network == run.recipe.network
    weights = [(one.path / "model.safetensors").read_bytes() for one in (run, again)]
    assert weights[0] == weights[1]


def test_images_of_a_named_set_are_resized_in_the_network(
    toy: None, tmp_path: Path, command: Command
) -> None:
    done = command("train", "digits", "--from", "toy", "--epochs", "0", "--out", "run")
    assert done.code == 0, done.err
    first = open_run_folder(Path("run")).recipe().network.layers[0]
    assert first == fl.layers.Resize(32, channels=3)
    assert command("evaluate", "run").code == 0


def test_without_a_backbone_photographs_are_told_of_one(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--out", "run")
    assert done.code in (0, 4), done.err
    assert "firstlight backbones fetch efficientnet_lite0" in done.out
    missing = command("train", "own.npz", "--from", "mobilenet_v4_small", "--out", "second")
    assert missing.code == 3
    assert not Path("second").exists()


def test_the_estimator_starts_from_a_backbone(toy: None, tmp_path: Path) -> None:
    train, test = striped(60, 12)
    estimator = fl.FirstlightClassifier(start="toy", settings=["train.epochs=0"])
    estimator.fit(train.images_NHWC, train.labels_N)
    assert estimator.recipe_.train.start_from == "toy"
    assert estimator.recipe_.network.layers[0] == fl.layers.Resize(32, channels=3)
    assert (estimator.predict(test.images_NHWC) == test.labels_N).mean() > 0.7
    estimator.save(tmp_path / "saved")
    again = fl.FirstlightClassifier.load(tmp_path / "saved")
    assert again.start == "toy"
    np.testing.assert_array_equal(
        again.predict_proba(test.images_NHWC), estimator.predict_proba(test.images_NHWC)
    )


def test_a_handful_of_pictures_is_judged_by_cross_validation(toy: None, command: Command) -> None:
    pictures(Path("own.npz"), count=20)
    done = command("train", "own.npz", "--from", "toy", "--out", "run")
    assert done.code in (0, 4), done.err
    assert "too few to hold some out" in done.out
    recipe = open_run_folder(Path("run")).recipe()
    assert (recipe.train.validation, recipe.train.epochs) == ("none", 0)


def test_a_short_budget_is_for_the_last_layer_and_the_network_from_nothing(
    toy: None, command: Command
) -> None:
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--budget", "6", "--out", "run")
    assert done.code == 0, done.err
    runs = [open_run_folder(path).recipe() for path in Path().glob("run*")]
    if "No network was trained from scratch" not in done.out:  # as on a busy machine
        assert sorted(one.train.start_from for one in runs) == ["", "toy"]
    (pretrained,) = (one for one in runs if one.train.start_from)
    assert pretrained.train.epochs == 0


def test_a_run_from_a_backbone_is_started_from_as_the_backbone_is(
    toy: None, tmp_path: Path
) -> None:
    own = pictures(tmp_path / "own.npz")
    first = fl.train(own, start="toy", epochs=0, out=tmp_path / "first", quiet=True)
    second = fl.train(own, start=first.path, epochs=0, out=tmp_path / "second", quiet=True)
    assert second.recipe.train.start_head == "linear"
    assert second.recipe.train.start_from == str(first.path.resolve())
    assert second.evaluate().accuracy > 0.7


def test_a_few_pictures_are_told_their_cross_validated_accuracy(
    toy: None, command: Command
) -> None:
    pictures(Path("own.npz"), count=40)
    done = command("train", "own.npz", "--out", "run")
    assert done.code in (0, 4), done.err
    assert "validation accuracy" in done.out
    (accuracy,) = accuracies("run")
    assert 0.3 <= accuracy <= 1


def test_other_names_and_wrong_ones_are_known(toy: None, command: Command) -> None:
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--from", "timm:resnet18", "--out", "run")
    assert done.code == 2
    assert "unknown backbone" in done.err
    done = command("train", "own.npz", "--from", "efficientnet_lite", "--out", "run")
    assert done.code == 2
    assert "did you mean efficientnet_lite0?" in done.err


def test_choices_that_one_way_has_are_said_to_leave_the_backbone_out(
    toy: None, command: Command
) -> None:
    pictures(Path("own.npz"))
    done = command("train", "own.npz", "--epochs", "1", "--out", "run")
    assert done.code in (0, 4), done.err
    assert "trained from scratch" in done.out and "--from toy" in done.out


def test_grey_drawings_in_three_channels_are_not_mirrored(toy: None, tmp_path: Path) -> None:
    test = fl.load("digits").test
    images = np.kron(test.images_NHWC, np.ones((1, 4, 4, 3), np.uint8))
    np.savez(tmp_path / "own.npz", images=images, labels=test.labels_N)
    run = fl.train(tmp_path / "own.npz", start="toy", epochs=0, out=tmp_path / "run", quiet=True)
    assert run.recipe.network.views == "one"
    assert not any(isinstance(step, fl.augment.Flip) for step in run.recipe.augment)


def stopped_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Send Ctrl-C at the event with this number, counted over all trainings."""
    events = itertools.count(1)

    class Stop:
        def __enter__(self) -> "Stop":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        @property
        def wanted(self) -> bool:
            return next(events) == number

    monkeypatch.setattr("firstlight.verbs.fit.StopRequest", Stop)


@pytest.mark.parametrize(("number", "clear"), [(1, True), (3, True), (3, False)])
def test_a_stopped_contest_is_taken_up_as_a_whole(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch, number: int, clear: bool
) -> None:
    monkeypatch.setattr("firstlight.verbs.contest.is_clear", lambda *_: clear)
    pictures(Path("own.npz"))
    assert command("train", "own.npz", "--out", "whole").code == 0
    with monkeypatch.context() as patch:  # in the first run's epoch 0, or in the second run
        stopped_at(patch, number)
        done = command("train", "own.npz", "--out", "run")
    assert done.code == 130
    again = re.search(r"firstlight train --resume (\S+)", done.err)
    assert again is not None and again[1] == ("run" if number == 1 else "run-from-scratch")
    done = command("train", "--resume", again[1], "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["run"] == "run", done.err
    assert "compared_with" in told, done.err
    assert told["compared_with"]["run"] in ("run-from-scratch", "run-toy")
    assert told["compared_with"]["log_loss"] <= told["compared_with"]["other_log_loss"]
    everything = json.loads(Path("run", "data.json").read_text())["trained_on"] + 12
    assert told["compared_with"]["held_out"] == (12 if clear else everything)
    ended = [json.loads(Path(one, "contest.json").read_text()) for one in ("whole", "run")]
    assert ended[0]["log_loss"] == ended[1]["log_loss"]
    for one in ("", told["compared_with"]["run"].removeprefix("run")):
        ends = [Path(name + one, "model.safetensors").read_bytes() for name in ("whole", "run")]
        assert ends[0] == ends[1]
    done = command("train", "--resume", "run")
    assert (done.code, "nothing to resume" in done.err) == (2, True)


def test_a_contest_that_lacks_its_second_run_is_gone_on_with(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(Path("own.npz"))
    with monkeypatch.context() as patch:
        patch.setattr("firstlight.verbs.contest._against", lambda first, *_: first)
        assert command("train", "own.npz", "--out", "run", "--seed", "3").code == 0
    assert not list(Path().glob("run-*"))
    done = command("train", "--resume", "run")
    assert done.code == 0, done.err
    (other,) = Path().glob("run-*")
    recipes = [open_run_folder(path).recipe() for path in (Path("run"), other)]
    assert sorted(one.train.start_from for one in recipes) == ["", "toy"]
    assert [one.train.seed for one in recipes] == [3, 3]
    assert command("report", "run").code == 0
    assert "held-out pictures, this network gets" in Path("run", "report.html").read_text()


def test_a_damaged_contest_is_told(toy: None, command: Command) -> None:
    pictures(Path("own.npz"))
    assert command("train", "own.npz", "--out", "run").code == 0
    for values in ('{"start": 1, "size": null}', '{"size": null}', "[]", "{", '{"a": 1}'):
        Path("run", "contest.json").write_text(values)
        for words in (("train", "--resume", "run"), ("report", "run")):
            done = command(*words)
            assert done.code == 3, (values, words, done.err)
            assert "Traceback" not in done.err
    hostile = '{"start": "toy", "size": null, "other": "../elsewhere"}'
    Path("run", "contest.json").write_text(hostile)
    assert command("train", "--resume", "run").code == 3


def test_what_lies_beside_is_looked_at_before_anything_is_trained(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(Path("own.npz"))
    with monkeypatch.context() as patch:
        stopped_at(patch, 3)
        assert command("train", "own.npz", "--out", "run").code == 130
    second = Path("run-from-scratch")
    Path("run").rename("away")
    done = command("train", "--resume", str(second))
    assert done.code == 2
    assert "Put it back; or delete run-from-scratch/contest.json" in done.err
    assert command("train", "own.npz", "--from", "toy", "--out", "run").code == 0
    done = command("train", "--resume", str(second))  # another run is in its place
    assert (done.code, "Put it back" in done.err) == (2, True)
    shutil.rmtree("run")
    Path("away").rename("run")
    with monkeypatch.context() as patch:
        patch.chdir("run")
        assert command("train", "--resume", ".").code == 0
    assert json.loads(Path("run", "contest.json").read_text())["held_out"] == 12


def test_the_folder_one_is_in_may_be_the_runs(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(Path("own.npz"))
    Path("here").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir("here")
        assert command("train", "../own.npz", "--out", ".").code == 0
    assert len(list(Path().glob("here*"))) == 2


def test_two_runs_to_be_compared_are_not_taken_up_by_several_processes(
    toy: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(Path("own.npz"))
    with monkeypatch.context() as patch:
        stopped_at(patch, 3)
        assert command("train", "own.npz", "--out", "run").code == 130
    for folder in ("run", "run-from-scratch"):  # one is finished, and one is not
        with pytest.raises(fl.UserError, match="Resume it without a launcher"):
            several._resume(Processes(), Path(folder), Silent())
