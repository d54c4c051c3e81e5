"""Doubtful ones among several labels of a picture."""

import csv
from pathlib import Path

import numpy as np
import pytest
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from tests.kit import Command
from tests.marks import NAMES, pictures

from firstlight.data.own import load_own
from firstlight.data.split import joined
from firstlight.verbs import labels
from firstlight.verbs.choose import recipe_for
from firstlight.verbs.labels import check_labels

WRONG = {"3.png": 0, "20.png": 2, "41.png": 2, "77.png": 0, "100.png": 0, "130.png": 2}
"""The label that is wrong: a column or a row. Dots are harder to learn."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """160 pictures, six of them with one wrong label."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = pictures(tmp_path / "set", 160) / "columns.csv"
    with found.open(newline="") as lines:
        rows = [*csv.reader(lines)]
    for row in rows:
        if row[0] in WRONG:
            row[1 + WRONG[row[0]]] = "10"[int(row[1 + WRONG[row[0]]])]
    with found.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return found


def test_wrong_labels_lead_the_list(file: Path) -> None:
    quick = recipe_for(load_own(file).train).with_settings(["train.epochs=10"])
    found = check_labels(file, recipe=quick)
    assert found.finding is not None
    first = {(one.name, one.given.removeprefix("without ")) for one in found.finding.suspects[:12]}
    wrong = {(name, NAMES[label]) for name, label in WRONG.items()}
    assert len(first & wrong) >= 5
    chances = [one.probability for one in found.finding.suspects]
    assert chances == sorted(chances)
    assert not found.finding.exclude


def test_the_doubtful_ones_are_those_of_cleanlab(
    file: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """Its own check of each label, given the same probabilities."""
    data = joined(load_own(file))
    assert data.labels_NK is not None and data.names is not None
    rng = np.random.default_rng(0)
    found_NK = np.where(data.labels_NK, 0.97, 0.03)
    wrong_NK = rng.random(found_NK.shape) < 0.08
    found_NK[wrong_NK] = 1 - found_NK[wrong_NK] * rng.uniform(0.7, 1.0, int(wrong_NK.sum()))
    monkeypatch.setattr(labels, "out_of_fold", lambda *_: found_NK)
    monkeypatch.setattr(labels, "_sharpened_labels", lambda found_NK, _: found_NK)
    lists = [np.flatnonzero(row_K).tolist() for row_K in data.labels_NK]
    each = find_multilabel_issues_per_class(
        lists, found_NK, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    issues = each[0] if isinstance(each, tuple) else each
    wanted = {(data.names[at], NAMES[k]) for k, rows in enumerate(issues) for at in rows}
    assert len(wanted) > 3
    done = check_labels(file)
    assert done.finding is not None
    said = {(one.name, one.given.removeprefix("without ")) for one in done.finding.suspects}
    assert said == wanted
    told = command("data", "check", file, "--labels")
    assert told.code == 0, told.err
    assert f"{len(wanted)} labels of " in told.out


def test_a_label_of_few_pictures_is_not_judged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [line.split(",") for line in file.read_text().splitlines()]
    dots = 0
    for row in rows[1:]:
        dots += int(row[2])
        row[2] = row[2] if dots <= 7 else "0"
    file.write_text("\n".join(map(",".join, rows)))
    data = joined(load_own(file))
    assert data.labels_NK is not None
    wrong_NK = np.where(data.labels_NK, 0.97, 0.03)
    wrong_NK[:, 1] = 0.5
    monkeypatch.setattr(labels, "out_of_fold", lambda *_: wrong_NK)
    done = check_labels(file)
    assert done.finding is None
    assert any("fewer than 8 different pictures" in note and "dot" in note for note in done.notes)
