"""Labels that are probably wrong: swapped ones are found, by networks that had not seen them."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.kit import Command

import firstlight.verbs.labels as labels
from firstlight.data.dataset import Dataset
from firstlight.data.own import load_own
from firstlight.data.split import folds, joined
from firstlight.verbs.choose import recipe_for
from firstlight.verbs.labels import check_labels, out_of_fold


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, str]]:
    """Write 40 digits of each class as PNG files; 12 are in a wrong class's folder; returns their
    true class."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    every = load_digits()
    swapped = {}
    for label in range(10):
        (tmp_path / "set" / f"digit {label}").mkdir(parents=True)
    for label in range(10):
        for number, at in enumerate(np.flatnonzero(every.target == label)[:40]):
            away = 3 * (number == 7) or 5 * (number == 21 and label < 2)
            name = f"digit {(label + away) % 10}/{at}.png"
            pixels = (every.images[at] * 15).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name)
            if away:
                swapped[name] = f"digit {label}"
    assert len(swapped) == 12
    return tmp_path / "set", swapped


def test_swapped_labels_lead_the_list_with_their_true_class(
    digits: tuple[Path, dict[str, str]],
) -> None:
    root, swapped = digits
    quick = recipe_for(load_own(root).train).with_settings(["train.epochs=8"])
    found = check_labels(root, recipe=quick)
    assert found.finding is not None
    suspects = found.finding.suspects
    first = {s.name for s in suspects[:20]}
    assert len(first & set(swapped)) >= 10
    assert len(suspects) < 40
    assert all(s.given == s.name.partition("/")[0] for s in suspects)
    assert sum(swapped.get(s.name) == s.suggested for s in suspects) >= 10
    chances = [s.probability for s in suspects]
    assert chances == sorted(chances)
    assert not found.finding.exclude
    assert sum(found.likely[name] == true for name, true in swapped.items()) >= 10


def test_no_network_has_seen_the_pictures_it_judges() -> None:
    rng = np.random.default_rng(0)
    noise = Dataset(
        name="noise",
        images_NHWC=rng.integers(0, 256, (96, 10, 12, 1), dtype=np.uint8),
        labels_N=np.arange(96) % 2,
        class_names=("heads", "tails"),
    )
    recipe = recipe_for(noise).with_settings(["train.epochs=15", "augment=[]"])
    found_NK = out_of_fold(noise, recipe)
    assert np.allclose(found_NK.sum(axis=1), 1)
    right = (found_NK.argmax(axis=1) == noise.labels_N).mean()
    assert 0.25 < right < 0.75  # a network that memorized them would get all right


def test_copies_of_a_picture_are_in_one_fold_whichever_part_they_come_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(1)
    for part, count in (("train", 14), ("test", 5)):
        for name in ("cat", "dog", "emu"):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.integers(0, 256, (7, 6, 3), dtype=np.uint8))
                picture = coarse.resize((36, 42), Image.Resampling.BICUBIC)
                picture.save(tmp_path / "set" / part / name / f"{i}.png")
    for i in range(8):
        picture = Image.open(tmp_path / f"set/train/cat/{i}.png")
        picture.resize((72, 84)).save(tmp_path / f"set/test/cat/again {i}.jpg", quality=90)
        shutil.copy(tmp_path / f"set/train/cat/{i}.png", tmp_path / f"set/train/dog/one {i}.png")
    data = joined(load_own(tmp_path / "set"))
    fold_N = folds(data, 4)
    assert data.names is not None
    at = dict(zip(data.names, fold_N.tolist(), strict=True))
    assert len(at) == 3 * 19 + 2 * 8
    for i in range(8):
        assert (
            at[f"train/cat/{i}.png"]
            == at[f"test/cat/again {i}.jpg"]
            == at[f"train/dog/one {i}.png"]
        )


def test_folds_are_even_in_every_class_and_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    data = Dataset(
        name="set",
        images_NHWC=rng.integers(0, 256, (103, 5, 6, 1), dtype=np.uint8),
        labels_N=np.sort(np.arange(103) % 5),
        class_names=tuple("abcde"),
    )
    fold_N = folds(data, 4)
    counts_FK = np.array([np.bincount(data.labels_N[fold_N == f], minlength=5) for f in range(4)])
    assert (counts_FK.max(axis=0) - counts_FK.min(axis=0) <= 1).all()
    assert np.ptp(counts_FK.sum(axis=1)) <= 1
    shuffled_N = rng.permutation(103)
    assert (folds(data.take(shuffled_N), 4) == fold_N[shuffled_N]).all()
    some_N = shuffled_N[:60]
    assert (folds(data, 4, some_N) == folds(data.take(some_N), 4)).all()


def certain_but_of(name: str, data: Dataset, suggested: str) -> np.ndarray:
    """Return probabilities that agree with every label but one."""
    found_NK = np.full((len(data), len(data.class_names)), 0.01)
    found_NK[np.arange(len(data)), data.labels_N] = 1
    assert data.names is not None
    found_NK[data.names.index(name)] = 0.01
    found_NK[data.names.index(name), data.class_names.index(suggested)] = 1
    result: np.ndarray = found_NK / found_NK.sum(axis=1, keepdims=True)
    return result


def test_the_command_says_and_shows_the_suspects_and_leaves_none_out(
    command: Command, digits: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, swapped = digits
    name, true = next(iter(swapped.items()))
    given = name.partition("/")[0]
    monkeypatch.setattr(labels, "out_of_fold", lambda data, *_: certain_but_of(name, data, true))
    quick = command("data", "check", root)
    assert quick.out.splitlines()[-1].startswith("look for wrong labels with --labels")
    done = command(
        *("data", "check", root, "--labels", "--page", "check.html", "--fix-list", "out.csv")
    )
    assert done.code == 0, done.err
    assert "1 of 400 pictures may be in the wrong class" in done.out
    assert "agree with 99.8 % of the labels" in done.out
    assert f"    {name}: {given} → {true} (0.0 % for {given})" in done.out
    assert "no problems found" not in done.out
    assert "look for wrong labels with --labels" not in done.out
    page = Path("check.html").read_text()
    assert all(f">{word}</td>" in page for word in (name, given, true))
    with Path("out.csv").open(newline="") as file:
        assert name not in {row["path"] for row in csv.DictReader(file)}
    found = json.loads(command("data", "check", root, "--labels", "--json").out)
    (suspect,) = found["findings"][-1]["suspects"]
    assert suspect.pop("probability") < 0.02
    assert suspect == {"name": name, "given": given, "suggested": true}


def test_where_networks_agree_with_every_label_it_is_said(
    digits: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, swapped = digits
    name = next(iter(swapped))
    agreed = name.partition("/")[0]
    monkeypatch.setattr(labels, "out_of_fold", lambda data, *_: certain_but_of(name, data, agreed))
    found = check_labels(root)
    assert found.finding is None
    assert "agree with 100.0 % of the labels" in found.notes[0]


def test_a_class_with_too_few_different_pictures_is_left_out_and_named(
    digits: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, swapped = digits
    one, *others = sorted((root / "digit 3").iterdir())
    for file in others:
        shutil.copy(one, file)
    for file in sorted((root / "digit 5").iterdir())[7:]:
        file.unlink()
    name = next(n for n in swapped if n.partition("/")[0] not in ("digit 3", "digit 5"))
    seen = []

    def judge(data: Dataset, *_: object) -> np.ndarray:
        seen.append(data.class_names)
        return certain_but_of(name, data, "digit 9" if "digit 9" not in name else "digit 8")

    monkeypatch.setattr(labels, "out_of_fold", judge)
    found = check_labels(root)
    assert seen == [tuple(f"digit {k}" for k in (0, 1, 2, 4, 6, 7, 8, 9))]
    assert found.finding is not None
    assert [s.name for s in found.finding.suspects] == [name]
    assert found.notes[-1].endswith("digit 3 (1), digit 5 (7)")


def test_without_cleanlab_it_is_said_before_anything_is_read(
    command: Command, digits: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    done = command("data", "check", digits[0], "--labels")
    assert (done.code, done.out) == (2, "")
    assert "--labels needs cleanlab, which is installed" in done.err
    assert "pip install --upgrade cleanlab" in done.err
    assert "decoding" not in done.err
    assert command("data", "check", digits[0]).code == 0
