"""A run that gives several labels is measured on other data."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as reference
from tests.kit import Command
from tests.marks import NAMES, drawn, pictures

import firstlight as fl
from firstlight.data.several_labels import split_known
from firstlight.evaluate.label_metrics import LabelMetrics


@pytest.fixture
def run(marks_run: fl.Run, tmp_path: Path) -> Path:
    """A copy that is written to."""
    return shutil.copytree(marks_run.path, tmp_path / "run")


def written(file: Path, rows: list[tuple[Any, ...]]) -> Path:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return file


def kept(run: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    (place,) = run.glob("evaluated-*")
    with (place / "predictions.csv").open(newline="") as file:
        return json.loads((place / "metrics.json").read_text()), [*csv.DictReader(file)]


def matrix(rows: list[dict[str, str]], key: str, names: tuple[str, ...]) -> np.ndarray:
    return np.array([[name in row[key].split(";") for name in names] for row in rows])


@pytest.mark.parametrize("form", ["columns.csv", "lists.csv"])
def test_the_figures_are_scikit_learns_with_the_thresholds_of_the_run(
    command: Command, run: Path, form: str
) -> None:
    other = pictures(Path("other"), 60, seed=1) / form
    own = json.loads((run / "metrics.json").read_text())
    done = command("evaluate", run, other)
    assert done.code == 0, done.err
    found, rows = kept(run)
    assert json.loads((run / "metrics.json").read_text()) == own
    assert [row["threshold"] for row in found["per_class"]] == [
        row["threshold"] for row in own["per_class"]
    ]
    with (other.parent / "lists.csv").open(newline="") as file:
        truth = {row["path"]: row["labels"].replace("[]", "") for row in csv.DictReader(file)}
    assert {row["image"]: row["true"] for row in rows} == truth
    true, said = (matrix(rows, key, NAMES) for key in ("true", "predicted"))
    probabilities = np.array([[float(row[f"p_{name}"]) for name in NAMES] for row in rows])
    assert found["f1_macro"] == pytest.approx(reference.f1_score(true, said, average="macro"))
    assert found["f1_micro"] == pytest.approx(reference.f1_score(true, said, average="micro"))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, said))
    mean = reference.average_precision_score(true, probabilities, average="macro")
    assert found["mean_average_precision"] == pytest.approx(mean)
    assert f"mean average precision {100 * mean:.2f} %" in done.out
    answers = fl.open_run(run).predict([other.parent / row["image"] for row in rows])
    assert [";".join(answer.labels or ()) for answer in answers] == [
        row["predicted"] for row in rows
    ]


def test_labels_that_only_one_side_has_are_not_measured(command: Command, run: Path) -> None:
    """A picture with a label that the run lacks is measured by its other labels."""
    folder = pictures(Path("other"), 40, seed=2)
    with (folder / "columns.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    part: list[tuple[Any, ...]] = [("path", "row", "zigzag", "column")]
    part += [(row["path"], row["row"], at % 2, row["column"]) for at, row in enumerate(rows)]
    done = command("evaluate", run, written(folder / "part.csv", part))
    assert done.code == 0, done.err
    assert "because the data names no 'dot'\n" in done.out
    assert "the run has no such label: 'zigzag'\n" in done.out
    found, answers = kept(run)
    names = ("column", "row")
    assert (found["count"], found["data"]["surplus"]) == (40, {"zigzag": 20})
    true, said = (matrix(answers, key, names) for key in ("true", "predicted"))
    wanted = {row["path"]: [row[name] == "1" for name in names] for row in rows}
    assert true.tolist() == [wanted[row["image"]] for row in answers]
    assert found["f1_macro"] == pytest.approx(reference.f1_score(true, said, average="macro"))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, said))
    own = json.loads((run / "metrics.json").read_text())["per_class"]
    assert [row["threshold"] for row in found["per_class"]] == [
        own[NAMES.index(name)]["threshold"] for name in names
    ]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([("path", "labels"), ("0.png", "dot"), ("1.png", "[]")], ["dot"]),
        ([("path", "labels"), ("0.png", "dot row"), ("1.png", "row")], ["dot", "row"]),
        ([("path", "labels"), ("0.png", "dot|row"), ("1.png", "[]")], ["dot", "row"]),
        ([("path", "dot"), ("0.png", 1), ("1.png", 0)], ["dot"]),
        ([("path", "dot", "row"), ("0.png", 1, 0), ("1.png", 0, 0)], ["dot", "row"]),
    ],
)
def test_a_few_pictures_are_enough(
    command: Command, run: Path, rows: list[tuple[Any, ...]], named: list[str]
) -> None:
    """Where no picture has two labels, training would refuse some of these and read others as
    classes."""
    folder = pictures(Path("other"), 2, seed=3)
    done = command("evaluate", run, written(folder / "few.csv", rows))
    assert done.code == 0, done.err
    found, answers = kept(run)
    assert [row["name"] for row in found["per_class"]] == named
    assert answers[0]["true"] == ";".join(named[: len(answers[0]["true"].split(";"))])
    assert answers[1]["true"] in ("", "row")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("path", "labels"), ("0.png", "cat;dog"), ("1.png", "cat")], "label names are 'cat'"),
        ([("path", "labels"), ("0.png", "[]"), ("1.png", "[]")], "2 pictures without any"),
        ([("path", "dot", "cat"), ("0.png", 0, 1), ("1.png", 0, 1)], "a label of the run"),
    ],
)
def test_data_without_the_labels_of_the_run_is_refused(
    command: Command, run: Path, rows: list[tuple[Any, ...]], why: str
) -> None:
    folder = pictures(Path("other"), 2, seed=3)
    done = command("evaluate", run, written(folder / "few.csv", rows))
    assert (done.code, why in done.err) == (3, True), done.err
    assert not [*run.glob("evaluated-*")]


def test_arrays_and_folders_are_other_data_too(command: Command, run: Path) -> None:
    rng = np.random.default_rng(4)
    alone = np.eye(3, dtype=bool)[np.arange(12) % 3]
    images = np.stack([drawn(tuple(has), rng) for has in alone])
    np.savez("few.npz", images=images, labels=alone.astype(int), class_names=NAMES)
    found = fl.open_run(run).evaluate("few.npz")
    assert isinstance(found, LabelMetrics)
    assert (found.count, [row.support for row in found.per_class]) == (12, [4, 4, 4])
    lists = [[NAMES[at % 3]] for at in range(12)]
    assert fl.open_run(run).evaluate((images, lists)) == found
    for at, image in enumerate(images):
        place = Path("classes") / NAMES[at % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{at:02}.png")
    told = command("evaluate", run, "classes", "--json")
    assert told.code == 0, told.err
    of_folder = json.loads(told.out)
    assert of_folder["data"]["one_each"]
    assert of_folder["f1_macro"] == pytest.approx(found.f1_macro)
    assert "each is of one class" in command("evaluate", run, "classes").out


def test_known_names_are_not_split() -> None:
    known = ("new york", "new", "york, pa", "sea")
    assert split_known(["new york", "sea"], known) == [("new york",), ("sea",)]
    assert split_known(["sea new", "york, pa"], known) == [("sea", "new"), ("york, pa",)]
    assert split_known(["sea;zebra", "[]", "new york"], known) == [
        ("sea", "zebra"),
        (),
        ("new york",),
    ]
