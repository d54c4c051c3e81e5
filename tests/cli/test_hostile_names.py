"""Classes and files whose names contain commands for terminals, spreadsheets or text direction."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command, Outcome

import firstlight as fl
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_answers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")

TITLE = "\x1b]0;owned\x07cats"
FORMULA = "=1+1"
FEIGNED = "dogs\naccuracy 100 %"
TURNED = "חתול"
CLASSES = sorted([TITLE, FORMULA, FEIGNED, TURNED])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of eight grey levels and noise, each picture with an escape in its name."""
    root = tmp_path_factory.mktemp("own") / "pics"
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(10):
            noise_HW = rng.integers(0, 60, (28, 28), dtype=np.uint8) + np.uint8(60 * label)
            Image.fromarray(noise_HW).save(root / name / f"-{number}\x1b[2J.png")
    return root


@pytest.fixture(scope="module")
def hostile_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "\x1b[31mrun"
    run = fl.train(pictures, recipe="digits-tutorial", epochs=1, out=out, quiet=True)
    run.evaluate()
    run.report()
    return out


def harmless(done: Outcome) -> None:
    for text in (done.out, done.err):
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\x7f", "\r", "\u202e"}
        assert "accuracy 100 %" not in [line.strip() for line in text.splitlines()]


def test_no_screen_obeys_a_name(
    command: Command, pictures: Path, hostile_run: Path, tmp_path: Path
) -> None:
    picture = next(iter(sorted((pictures / TITLE).iterdir())))
    for words in (
        ["train", pictures, "--recipe", "digits-tutorial", "--epochs", "1", "--out", "\x1b[1mout"],
        ["evaluate", hostile_run],
        ["predict", hostile_run, picture],
        ["explain", hostile_run, picture],
        ["data", "check", pictures],
        ["runs", hostile_run.parent],
        ["predict", hostile_run, picture, "no\x1b[2Jthing.png"],
        ["evaluate", "\x1b[31mnothing"],
        ["train", "\x1b[31mnothing"],
        ["train", "mnist", "--set", "\x1b[31m=1"],
        ["\x1b[31mnothing"],
    ):
        harmless(command(*words))


def test_json_gives_the_names_back(command: Command, pictures: Path, hostile_run: Path) -> None:
    done = command("evaluate", hostile_run, "--json")
    harmless(done)
    assert [row["name"] for row in json.loads(done.out)["per_class"]] == CLASSES
    assert json.loads(done.out)["run"] == str(hostile_run)


def test_square_brackets_are_no_style(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "[red]x[bold]"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text("")
    assert "[red]x[bold]" in command("runs").out


def test_no_cell_of_a_csv_is_a_formula_and_our_reader_has_the_names(
    command: Command, pictures: Path, hostile_run: Path, tmp_path: Path
) -> None:
    listed = sorted((pictures / FORMULA).iterdir())
    monkey = Path("=2+2.png").absolute()
    monkey.write_bytes(listed[0].read_bytes())
    printed = command("predict", hostile_run, "=2+2.png", "--csv").out
    command("data", "check", pictures, "--fix-list", tmp_path / "fix.csv")
    texts = [printed, *(p.read_bytes().decode() for p in (hostile_run / "predictions.csv",))]
    texts.append((tmp_path / "fix.csv").read_text())
    for text in texts:
        cells = [c for row in csv.reader(text.splitlines(keepends=True)) for c in row]
        assert cells
        assert not [c for c in cells if c.startswith(tuple("=+-@\t\r"))]
    assert "'=2+2.png" in printed
    assert f"'{FORMULA}" in texts[1]
    answers = read_answers(RunFolder(hostile_run))
    assert {Path(name).parts[0] for name in answers.names} == set(CLASSES)
    truths = [CLASSES[n] for n in answers.true_N]
    assert [Path(name).parts[0] for name in answers.names] == truths


def test_names_of_the_fix_list_come_back(command: Command, pictures: Path, tmp_path: Path) -> None:
    from firstlight.data.fixes import read_fixes
    from firstlight.untrusted import cell

    rows = f"path,label\n{cell('=1+1/a.png')},\n'plain'.png,{cell('=1')}\n"
    (tmp_path / "fix.csv").write_text(rows)
    fixes = read_fixes(tmp_path / "fix.csv")
    assert fixes.left_out == ("=1+1/a.png",)
    assert fixes.relabelled == {"'plain'.png": "=1"}


def test_the_report_holds_them_apart(hostile_run: Path) -> None:
    page = (hostile_run / "report.html").read_text()
    assert f"<bdi>{TURNED}</bdi>" in page
    assert "\x1b" not in page
    assert "Content-Security-Policy" in page


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode elsewhere")
def test_a_file_name_that_is_no_text_goes_through(
    command: Command, hostile_run: Path, pictures: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    for label, name in enumerate(("a", "b")):
        (own / name).mkdir(parents=True)
        for number in range(10):
            level = np.full((28, 28), 100 * label + number, np.uint8)
            path = os.fsencode(own / name) + b"/\xff%d.png" % number
            Image.fromarray(level).save(os.fsdecode(path))
    out = tmp_path / "run"
    for words in (
        ["train", own, "--recipe", "digits-tutorial", "--epochs", "1", "--out", out],
        ["evaluate", out],
        ["predict", out, *sorted((own / "a").iterdir())[:2]],
        ["predict", out, *sorted((own / "a").iterdir())[:2], "--json"],
        ["predict", out, *sorted((own / "a").iterdir())[:2], "--csv"],
        ["data", "check", own, "--fix-list", tmp_path / "fix.csv", "--page", tmp_path / "p.html"],
    ):
        done = command(*words)
        assert done.code in (0, 4), done.err
    names = read_answers(RunFolder(out)).names
    assert all((own / name).is_file() for name in names)
