"""``train PATH``: from a folder of pictures to answers, and the messages on the way."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command

import firstlight as fl
from firstlight.data.dataset import Dataset
from firstlight.runs.folder import RunFolder
from firstlight.verbs.run_data import data_of_run

SHORT = ("--set", "train.epochs=2", "--quiet")


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create coloured pictures with a bright row or column, in the parts train and test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        for name in ("row", "column"):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 90, (32, 36, 3), dtype=np.uint8)
                place = int(rng.integers(4, 26))
                if name == "row":
                    image[place : place + 3] = (250, 200, 90)
                else:
                    image[:, place : place + 3] = (250, 200, 90)
                Image.fromarray(image).save(tmp_path / "set" / part / name / f"{i}.png")
    return tmp_path / "set"


def test_a_folder_is_trained_evaluated_and_asked(stripes: Path, command: Command) -> None:
    done = command("train", stripes, "--out", "run", "--epochs", 6, "--quiet")
    assert done.code == 0, done.err
    data = json.loads(Path("run/data.json").read_text())
    assert (data["class_names"], data["image_shape"]) == (["column", "row"], [32, 36, 3])
    assert data["test"]["images"] == 20
    assert data["path"] == str(stripes)
    # Made for 80 pictures: the recipe says so, and the run can be evaluated and used.
    assert "Made for 80 colour images of 36 × 32 pixels in 2 classes" in (
        Path("run/recipe.toml").read_text()
    )
    assert command("evaluate", "run").code == 0
    page = Path("run/report.html").read_text()
    assert "Made for 80 colour images of 36 × 32 pixels in 2 classes" in page
    assert "36 × 32 colour, as they all are" in page
    with Path("run/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"].split("/")[1] for row in rows} == {"row", "column"}
    assert all(row["image"].split("/")[1] == row["true"] for row in rows)
    strip = fl.open_run("run").show_predictions()
    assert strip is not None
    below = [axes.get_xlabel().splitlines()[-1] for axes in strip.axes]
    of_each = [[row["image"] for row in rows if row["true"] == name] for name in ("column", "row")]
    assert below == [*of_each[0][:5], *of_each[1][:5]], "pictures go by their files' names"
    answer = json.loads(command("predict", "run", stripes / "test" / "row" / "0.png", "--json").out)
    by_name = {row["image"]: row for row in rows}
    mine = answer["predictions"][0] if isinstance(answer, dict) else answer[0]
    assert mine["answer"] == by_name["test/row/0.png"]["predicted"]


def test_a_folder_and_the_same_pixels_in_arrays_train_to_the_same_bits(
    stripes: Path, command: Command
) -> None:
    parts = []
    for part in ("train", "test"):
        files = sorted((stripes / part).glob("*/*.png"), reverse=True)  # another order
        parts.append(
            Dataset(
                name=f"arrays/{part}",
                images_NHWC=np.stack([np.asarray(Image.open(f)) for f in files]),
                labels_N=np.array([f.parent.name == "row" for f in files], dtype=np.int64),
                class_names=("column", "row"),
            )
        )
    recipe = ("--recipe", "cifar10-quick", "--set", "train.batch_size=16", *SHORT)
    assert command("train", stripes, "--out", "one", *recipe).code == 0
    settings = ["train.batch_size=16", "train.epochs=2"]
    fl.train(fl.TrainTest(*parts), "cifar10-quick", settings=settings, out="two", quiet=True)

    assert Path("one/model.safetensors").read_bytes() == Path("two/model.safetensors").read_bytes()


def test_pictures_can_be_left_out_by_a_csv(stripes: Path, command: Command) -> None:
    Path("out.csv").write_text("path,reason\ntrain/row/0.png,blurred\ntrain/row/1.png,\n")
    done = command("train", stripes, "--exclude", "out.csv", "--out", "run", *SHORT)
    assert done.code == 0, done.err
    data = json.loads(Path("run/data.json").read_text())
    assert data["train"]["images"] == 78
    assert "2 of the pictures left out, as requested" in data["notes"]
    assert command("evaluate", "run").code == 0, "the same pictures are left out again"


def labelled(data: Dataset) -> list[tuple[bytes, int]]:
    """Return each image with its label, in an order that does not depend on names."""
    return sorted(
        (image.tobytes(), int(n)) for image, n in zip(data.images_NHWC, data.labels_N, strict=True)
    )


def test_a_fix_list_gives_pictures_another_class_as_if_they_were_in_its_folder(
    stripes: Path, command: Command
) -> None:
    rows = "train/row/0.png,column,wrong\ntrain/row/1.png,,blurred\ntest/column/0.png,row,\n"
    Path("fix.csv").write_text(f"path,label,reason\n{rows}")
    done = command("train", stripes, "--fixes", "fix.csv", "--out", "run", *SHORT)
    assert done.code == 0, done.err
    data = json.loads(Path("run/data.json").read_text())
    assert data["excluded"] == ["train/row/1.png"]
    assert data["relabelled"] == {"test/column/0.png": "row", "train/row/0.png": "column"}
    assert "2 pictures given another class, as requested" in data["notes"]
    assert command("evaluate", "run").code == 0
    with Path("run/predictions.csv").open(newline="") as file:
        read = {row["image"]: row["true"] for row in csv.DictReader(file)}
    assert read["test/column/0.png"] == "row"
    assert read["test/column/1.png"] == "column"

    shutil.copytree(stripes, "mended")
    Path("mended/train/row/0.png").rename("mended/train/column/0r.png")
    Path("mended/test/column/0.png").rename("mended/test/row/0c.png")
    Path("mended/train/row/1.png").unlink()
    for one, other in zip(data_of_run(RunFolder(Path("run"))), fl.load("mended"), strict=True):
        assert labelled(one) == labelled(other)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train/row/0.png,zigzag", "gives it the class 'zigzag', which is not there; the classes"),
        ("train/row/0.png,row", "the class 'row', which it has already. Remove the row, or leave"),
        ("train/row/x.png,row", "no picture 'train/row/x.png' to give another class; names start"),
        ("train/row/x.png,", "no picture 'train/row/x.png' to leave out"),
        ("train/row/0.png,\ntrain/row/0.png,column", "0.png is listed twice, with different"),
    ],
)
def test_a_wrong_fix_list_is_refused_by_name(
    stripes: Path, command: Command, row: str, message: str
) -> None:
    Path("fix.csv").write_text(f"path,label\n{row}\n")
    done = command("train", stripes, "--fixes", "fix.csv")
    assert done.code == 3
    assert message in done.err


def test_uneven_classes_are_weighted(stripes: Path, command: Command) -> None:
    for i in range(30):
        (stripes / "train" / "row" / f"{i}.png").unlink()
    assert command("train", stripes, "--out", "run", *SHORT).code == 0
    text = Path("run/recipe.toml").read_text()
    assert 'class_weights = "balanced"' in text
    assert "the largest class has 4 times as many images as the smallest" in text


def test_a_changed_folder_is_not_taken_for_the_one_trained_on(
    stripes: Path, command: Command
) -> None:
    command("train", stripes, "--out", "run", *SHORT)
    (stripes / "test" / "row" / "0.png").unlink()
    done = command("evaluate", "run")
    assert done.code == 3
    assert "the test images are not those that the run was trained with" in done.err
    assert f"Restore the pictures of {stripes.resolve()}" in done.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nowhere",), 2, "unknown data set 'nowhere', and there is no such folder"),
        (("digits", "--size", "40"), 2, "--size and --fixes are for your own pictures"),
        (("{set}", "--size", "4"), 2, "--size must be 8 to 512 pixels, not 4"),
        (("{set}/train/row",), 3, "wanted a folder for each class with its pictures inside"),
        (("{set}/train/row/0.png",), 3, "0.png: cannot be read as a CSV"),
        (("{set}", "--allow-outside"), 2, "--allow-outside is for a CSV of paths"),
        (("digits", "--allow-outside"), 2, "--allow-outside is for a CSV of paths"),
        (("{set}", "--exclude", "no.csv"), 3, "no.csv: cannot be read as a CSV"),
    ],
)
def test_a_wrong_path_is_answered_in_words(
    stripes: Path, command: Command, words: tuple[str, ...], code: int, message: str
) -> None:
    done = command("train", *(word.replace("{set}", str(stripes)) for word in words))
    assert (done.code, message in done.err) == (code, True), done.err
    assert not Path("runs").exists()


def test_what_resembles_nothing_it_has_learnt_is_unknown(stripes: Path, command: Command) -> None:
    rng = np.random.default_rng(5)
    for part in ("row", "column"):  # enough to hold some out
        for i in range(150):
            image = rng.integers(0, 90, (32, 36, 3), dtype=np.uint8)
            place = int(rng.integers(4, 26))
            image[(slice(place, place + 3), slice(None))[:: 1 if part == "row" else -1]] = 250
            Image.fromarray(image).save(stripes / "train" / part / f"more-{i}.png")
    assert command("train", stripes, "--out", "run", "--epochs", 6, "--quiet").code == 0
    told = command("evaluate", "run")
    assert "Answered " in told.out and "threshold and were answered" in told.out
    Image.new("RGB", (36, 32), (120, 120, 120)).save("nothing.png")
    (answer,) = json.loads(command("predict", "run", "nothing.png", "--json").out)
    assert (answer["answer"], answer["unknown"]) == ("unknown", True)
    assert answer["best"] in ("row", "column")
    assert "unknown (" in command("predict", "run", "nothing.png").out


def test_quiet_hides_progress_and_never_what_was_left_out(stripes: Path, command: Command) -> None:
    short = ("--recipe", "cifar10-quick", "--set", "train.batch_size=16", "--epochs", 2, "--quiet")
    done = command("train", stripes, "--out", "plain", *short)
    assert done.err == "", "nothing was left out, and progress is hidden"
    (stripes / "train" / "row" / "notes.txt").write_text("x")
    (stripes / "train" / "row" / "0.png").write_text("broken")
    copied = (stripes / "train" / "row" / "1.png").read_bytes()
    (stripes / "test" / "row" / "again.png").write_bytes(copied)
    done = command("train", stripes, "--out", "run", *short, "--json")
    assert json.loads(done.out)["run"] == "run"
    lines = done.err.splitlines()
    assert lines[0] == "train/row/: 1 file left out, not pictures: notes.txt"
    assert lines[1].startswith("train/row/0.png: not a picture; ")
    assert lines[2].startswith("1 pair of copies is in two parts")
    assert len(lines) == 3


def test_the_library_warns_of_what_was_left_out(stripes: Path) -> None:
    (stripes / "train" / "row" / "notes.txt").write_text("x")
    with pytest.warns(UserWarning, match=r"train/row/: 1 file left out, not pictures: notes\.txt"):
        data = fl.load(stripes)
    assert data.train.warnings == ("train/row/: 1 file left out, not pictures: notes.txt",)
    with pytest.warns(UserWarning, match="1 file left out"):
        fl.train(stripes, epochs=2, out=stripes.parent / "run", quiet=True)


def test_a_csv_of_files_elsewhere_is_trained_on_and_evaluated_when_allowed(
    stripes: Path, command: Command
) -> None:
    Path("lists").mkdir()
    lines = [
        f"../{path.relative_to(stripes.parent)},{path.parent.name},{path.parent.parent.name}"
        for path in sorted(stripes.glob("*/*/*.png"))
    ]
    Path("lists/all.csv").write_text("\n".join(["path,label,part", *lines]))
    refused = command("train", "lists/all.csv", "--out", "run", *SHORT)
    assert refused.code == 3 and "--allow-outside" in refused.err
    assert command("data", "check", "lists/all.csv").code == 3
    assert command("data", "check", "lists/all.csv", "--allow-outside").code == 0
    command("train", "lists/all.csv", "--allow-outside", "--out", "run", "--epochs", 6, "--quiet")
    assert json.loads(Path("run/data.json").read_text())["train"]["images"] == 80
    assert command("evaluate", "run").code == 0, "the run remembers that it was allowed"


def test_a_folder_called_as_a_named_set_is_not_taken_silently(
    stripes: Path, command: Command
) -> None:
    stripes.rename("digits")
    note = "digits means the data set of that name."
    named = command("train", "digits", "--epochs", 0.1, "--out", "named")
    assert note in named.out and "write ./digits" in named.out
    assert command("train", "./digits", "--epochs", 0.1, "--out", "own").code in (0, 4)
    assert json.loads(Path("named/data.json").read_text())["class_names"][0] == "0"
    assert json.loads(Path("own/data.json").read_text())["class_names"] == ["column", "row"]
