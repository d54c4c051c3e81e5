"""Run folders that someone else changed: nothing hangs, nothing is written elsewhere."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.kit import Command

import firstlight as fl
from firstlight.errors import DataError
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_answers


@pytest.fixture
def run(digits_run: fl.Run, tmp_path: Path) -> Path:
    shutil.copytree(digits_run.path, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["data.json", "environment.json", "summary.json", "recipe.toml"])
def test_a_pipe_in_place_of_a_file_holds_nothing_up(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(DataError, match=f"{name}: cannot be read: .*not a regular file"):
        RunFolder(run).read(name)


def test_nothing_is_written_through_a_link(run: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "folder").mkdir(parents=True)
    (theirs / "thesis").write_text("mine")
    (theirs / "folder" / ".thesis.1.part").write_text("mine too")
    (run / "report.html").unlink()
    (run / "report.html").symlink_to(theirs / "thesis")
    shutil.rmtree(run / "figures")
    (run / "figures").symlink_to(theirs / "folder")
    folder = RunFolder(run)
    folder.write("report.html", "new")
    with pytest.raises(DataError, match="figures is a link to another place"):
        folder.write("figures/trust.png", b"new")
    with folder.locked():
        pass
    assert (theirs / "thesis").read_text() == "mine"
    assert [p.name for p in (theirs / "folder").iterdir()] == [".thesis.1.part"]
    assert (run / "report.html").read_text() == "new"


def test_a_report_says_that_the_course_of_a_training_is_missing(
    command: Command, run: Path, digits_run: fl.Run
) -> None:
    (run / "epochs.csv").write_text("")
    assert command("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "epochs.csv is missing or empty, so its training progress cannot be shown" in page
    assert "imported" not in page
    (run / "epochs.csv").unlink()
    assert command("report", digits_run.path, run).code == 0
    assert "epochs.csv is missing or empty: run." in Path("comparison.html").read_text()


def test_answers_of_another_measurement_are_not_taken_for_this_ones(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["correct"] -= 1
    (run / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match="Write it again with: firstlight evaluate"):
        read_answers(RunFolder(run))
