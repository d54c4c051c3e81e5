"""A run whose data was moved is resumed; other labelled data is matched by class names."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command, striped, whitened_net

import firstlight as fl
from firstlight.runs.folder import RunFolder

SMALL = [
    word for setting in (*whitened_net(8, 12), "train.batch_size=20") for word in ("--set", setting)
]


def pictures(root: Path, count: int = 80, names: tuple[str, str] = ("row", "column")) -> Path:
    """Create a folder of stripes by class."""
    train, _ = striped(count, 30)
    for at, (image, label) in enumerate(zip(train.images_NHWC, train.labels_N, strict=True)):
        place = root / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{at}.png")
    return root


@pytest.fixture
def project(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Create ``project/pics`` and ``project/run``, trained inside with a relative name. The test
    then runs in the folder above, after ``project`` was moved to ``moved``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "project"
    pictures(home / "pics")
    monkeypatch.chdir(home)
    done = command_in(command, home, "train", "pics", *SMALL, "--epochs", "4", "--out", "run")
    assert done == 0
    monkeypatch.chdir(tmp_path)
    return home.rename(tmp_path / "moved")


def command_in(command: Command, home: Path, *words: str) -> int:
    import os

    os.chdir(home)
    return command(*words, "--quiet").code


def without_relative(run: Path) -> None:
    """Write the run as an older version did."""
    values = json.loads((run / "data.json").read_text())
    del values["relative"]
    (run / "data.json").write_text(json.dumps(values))


@pytest.mark.parametrize("older", [False, True])
def test_a_project_that_was_moved_whole_is_found(
    command: Command, project: Path, older: bool
) -> None:
    if older:
        without_relative(project / "run")
    assert command("evaluate", project / "run").code == 0
    done = command("report", project / "run")
    assert (done.code, done.err) == (0, "")
    done = command("explain", project / "run", "test:0")
    assert (done.code, "left out" in done.err) == (0, False)


def test_data_that_lies_elsewhere_is_named_beside_the_run(command: Command, project: Path) -> None:
    shutil.move(project / "pics", "elsewhere")
    run = str(project / "run")
    for words in (("evaluate", run), ("explain", run, "test:0"), ("export", run)):
        done = command(*words)
        assert done.code in (2, 3)
        assert "name it as DATA after the run" in done.err
    left_out = command("report", run)
    assert left_out.code == 0 and "name it as DATA after the run" in left_out.err

    assert command("evaluate", run, "elsewhere").code == 0
    assert (project / "run" / "metrics.json").is_file()
    assert not list((project / "run").glob("evaluated-*"))
    assert command("explain", run, "test:0", "elsewhere").code == 0
    assert command("export", run, "elsewhere", "--format", "safetensors").code == 0
    told = command("report", run, "elsewhere")
    assert (told.code, told.err) == (0, "")
    assert fl.open_run(run, "elsewhere").evaluate().count > 0


def test_a_stopped_run_is_resumed_with_its_data_elsewhere(
    command: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RunFolder.write

    def stop(self: RunFolder, name: str, content: str | bytes) -> Path:
        if name == "epochs.csv":
            raise KeyboardInterrupt
        return plain(self, name, content)

    words = (*SMALL, "--epochs", "4", "--quiet")
    monkeypatch.setattr(RunFolder, "write", stop)
    assert command("train", project / "pics", *words, "--out", "stopped").code != 0
    monkeypatch.setattr(RunFolder, "write", plain)
    shutil.move(project / "pics", "elsewhere")
    assert "name it as DATA after the run" in command("train", "--resume", "stopped").err

    pictures(Path("others"), 60)
    wrong = command("train", "others", "--resume", "stopped")
    assert wrong.code == 3
    assert "are not those that the run was trained with" in wrong.err
    done = command("train", "elsewhere", "--resume", "stopped", "--quiet")
    assert done.code == 0, done.err
    one, other = (Path(p, "model.safetensors").read_bytes() for p in ("stopped", project / "run"))
    assert one == other


def test_other_data_is_matched_by_name_and_kept_apart(command: Command, project: Path) -> None:
    """The classes have another order; one is missing, and one is unknown to the run."""
    run = project / "run"
    assert command("evaluate", run).code == 0
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    other = pictures(Path("other"), 40, names=("row", "zigzag"))
    (other / "row" / "broken.png").write_bytes(b"no picture")

    done = command("evaluate", run, other)

    assert done.code == 0, done.err
    assert "20 images of other" in done.out
    assert "no pictures of 'column': not measured" in done.out
    assert "no such class: 'zigzag' (20 pictures)" in done.out
    assert "broken.png" in done.out
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before
    (kept,) = run.glob("evaluated-other-*")
    metrics = json.loads((kept / "metrics.json").read_text())
    assert metrics["count"] == metrics["data"]["images"] == 20
    with (kept / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["true"] for row in rows} == {"row"}
    right = sum(row["predicted"] == "row" for row in rows)
    assert metrics["correct"] == right
    # ``predict`` gives the same answer for each.
    answers = fl.open_run(run).predict([other / row["image"] for row in rows])
    assert [a.best for a in answers] == [row["predicted"] for row in rows]

    as_json = json.loads(command("evaluate", run, other, "--json").out)
    assert as_json["data"]["missing"] == ["column"]
    assert as_json["data"]["surplus"] == {"zigzag": 20}
    assert as_json["kept"] == str(kept)
    assert command("evaluate", run, other, "--require", "accuracy>=1.0").code in (0, 4)


def test_only_the_test_part_of_other_data_is_measured_where_it_has_one(
    command: Command, project: Path
) -> None:
    for part, count in (("train", 60), ("test", 20)):
        pictures(Path("parts") / part, count)
    assert "20 images of parts, its test part" in command("evaluate", project / "run", "parts").out


def test_arrays_and_named_sets_are_other_data_too(
    command: Command, project: Path, digits_run: fl.Run
) -> None:
    test = fl.load("digits").test
    few = np.flatnonzero(test.labels_N < 3)
    np.savez("few.npz", images=test.images_NHWC[few], labels=test.labels_N[few], range=[0, 255])
    copy = shutil.copytree(digits_run.path, "digits")
    done = command("evaluate", copy, "few.npz", "--json")
    told = json.loads(done.out)
    assert (told["count"], told["data"]["surplus"]) == (len(few), {})
    answers = digits_run.predict(test.images_NHWC[few])
    right = sum(
        a.best == test.class_names[label]
        for a, label in zip(answers, test.labels_N[few], strict=True)
    )
    assert told["correct"] == right

    wrong = command("evaluate", project / "run", "digits")
    assert wrong.code == 3
    assert "its class names are '0', '1'" in wrong.err


def test_the_run_s_own_pictures_that_were_changed_are_no_other_data(
    command: Command, project: Path
) -> None:
    """Most of them were trained on."""
    values = json.loads((project / "run" / "data.json").read_text())
    (project / "run" / "data.json").write_text(
        json.dumps({**values, "path": str(project / "pics")})
    )
    next((project / "pics" / "row").iterdir()).unlink()
    done = command("evaluate", project / "run", project / "pics")
    assert done.code == 3
    assert "are not those that the run was trained with" in done.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nowhere",), "there is no such folder or file"),
        (("other", "--robustness"), "own test images; leave it out"),
    ],
)
def test_what_cannot_be_measured_is_said(
    command: Command, project: Path, words: tuple[str, ...], why: str
) -> None:
    pictures(Path("other"), 20)
    done = command("evaluate", project / "run", *words)
    assert (done.code, why in done.err) == (2, True), done.err


def test_a_resumed_run_keeps_where_its_data_lies_now(
    command: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RunFolder.write

    def stop(self: RunFolder, name: str, content: str | bytes) -> Path:
        if name == "epochs.csv":
            raise KeyboardInterrupt
        return plain(self, name, content)

    monkeypatch.setattr(RunFolder, "write", stop)
    words = (*SMALL, "--epochs", "4", "--quiet", "--out", "stopped")
    assert command("train", project / "pics", *words).code != 0
    monkeypatch.setattr(RunFolder, "write", plain)
    shutil.move(project / "pics", "elsewhere")
    assert command("train", "elsewhere", "--resume", "stopped", "--quiet").code == 0
    assert command("evaluate", "stopped").code == 0


def test_other_data_in_memory_is_measured_by_name(command: Command, project: Path) -> None:
    run = fl.open_run(project / "run")
    train, _ = striped(40, 30)
    labels = [("row", "zigzag")[label] for label in train.labels_N]
    with pytest.warns(UserWarning, match="no such class: 'zigzag' \\(20 pictures\\)"):
        metrics = run.evaluate((train.images_NHWC, labels))
    assert metrics.count == 20
    answers = run.predict(train.images_NHWC[train.labels_N == 0])
    assert metrics.correct == sum(answer.best == "row" for answer in answers)
    assert run.evaluate(fl.TrainTest(train, train)).count == len(train)
    assert run.evaluate(train).count == len(train)
    assert run.evaluate(pictures(Path("other"), 20)).count == 20
    assert not (project / "run" / "metrics.json").exists()
    for wrong in (7, ("a", "b", "c"), "nowhere"):
        with pytest.raises(fl.errors.UserError):
            run.evaluate(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["size", "range", "excluded", "allow_outside"])
def test_other_data_need_not_take_what_the_runs_own_took(
    command: Command, project: Path, key: str
) -> None:
    """An option for reading the run's data would be refused for a named data set."""
    file = project / "run" / "data.json"
    values = json.loads(file.read_text())
    given = {"size": 30, "range": [0, 16], "excluded": ["row/0.png"], "allow_outside": True}
    file.write_text(json.dumps({**values, key: given[key]}))
    told = command("evaluate", project / "run", "digits")
    assert (told.code, "its class names are" in told.err) == (3, True)


def test_other_data_may_lie_outside_its_csv(command: Command, project: Path) -> None:
    pictures(Path("far"), 8)
    Path("near").mkdir()
    lines = [f"../{p},{p.parent.name}" for p in sorted(Path("far").rglob("*.png"))]
    Path("near/all.csv").write_text("path,label\n" + "\n".join(lines))
    told = command("evaluate", project / "run", "near/all.csv")
    assert (told.code, "--allow-outside" in told.err) == (3, True)
    done = command("evaluate", project / "run", "near/all.csv", "--allow-outside")
    assert (done.code, "8 images of" in done.out) == (0, True)
    assert command("evaluate", project / "run", "far", "--allow-outside").code == 2


def test_a_share_to_hold_out_beside_a_validation_part_is_refused(
    command: Command, project: Path
) -> None:
    for part in ("train", "validation"):
        pictures(Path("parted") / part, 40 if part == "train" else 12)
    words = ("parted", *SMALL, "--epochs", "1", "--quiet", "--out", "never")
    told = command("train", *words, "--set", "train.held_out_fraction=0.3")
    assert (told.code, "has a validation part; its 12 images" in told.err) == (2, True)
    assert not Path("never").exists()
    with pytest.raises(fl.errors.UserError, match="validation part"):
        fl.train("parted", settings="train.held_out_fraction=0.3", quiet=True)


@pytest.mark.parametrize("beside", [False, True])
def test_other_data_may_be_a_test_part_alone(command: Command, project: Path, beside: bool) -> None:
    """Also one with a class that the training part beside it lacks."""
    pictures(Path("other") / "Test", 40, names=("row", "zigzag"))
    if beside:
        pictures(Path("other") / "Train", 30, names=("row", "column"))
    done = command("evaluate", project / "run", "other")
    assert done.code == 0, done.err
    assert "20 images of other" in done.out
    assert "no such class: 'zigzag' (20 pictures)" in done.out
