"""Run folders: files appear complete, names count up, nothing finished is overwritten."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kit import Command

import firstlight as fl
from firstlight.errors import DataError, UserError
from firstlight.runs.folder import RunFolder, create_run, open_run_folder


def test_names_count_up_past_the_largest_there_is(tmp_path: Path) -> None:
    (tmp_path / "runs" / "net-7").mkdir(parents=True)
    (tmp_path / "runs" / "net-other-9").mkdir()
    made = [create_run("net", root=tmp_path / "runs", out=None).name for _ in range(2)]
    assert made == ["net-8", "net-9"]


def test_a_chosen_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    for files, wanted in [
        ({"notes.txt": ""}, "is not empty and is not a run"),
        ({"recipe.toml": ""}, "Resume it with: firstlight train --resume"),
        ({"recipe.toml": "", "summary.json": "{}"}, "never overwritten"),
    ]:
        out = tmp_path / str(len(wanted))
        out.mkdir()
        for name, text in files.items():
            (out / name).write_text(text)
        with pytest.raises(UserError, match=wanted):
            create_run("net", root=tmp_path, out=out)
        assert sorted(p.name for p in out.iterdir()) == sorted(files)


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: .* Choose another path"):
        create_run("net", root=tmp_path, out=tmp_path / "file" / "run")


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_full_disk_is_reported_and_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.write("recipe.toml", "")
    folder.write("state", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if stage == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught:
        folder.write("state", b"new")
    assert "No space left" in str(caught.value)
    assert f"firstlight train --resume {tmp_path}" in str(caught.value)
    assert (tmp_path / "state").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recipe.toml", "state"]


def test_the_systems_own_refusal_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DataError, match="File too large"):
            RunFolder(tmp_path).write("state", b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("warm")
def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="this system has no file locks")
    program = (
        "import sys; from pathlib import Path; from firstlight.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process"), RunFolder(tmp_path).locked():
            pass
        holder.kill()
        holder.wait()
        with RunFolder(tmp_path).locked():
            assert holder.returncode != 0


def test_what_is_no_run_folder_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "mnist-1").mkdir()
    (tmp_path / "mnist-1" / "recipe.toml").write_text("")
    with pytest.raises(UserError, match=r"no such run folder.*mnist-1"):
        open_run_folder(tmp_path / "mnist-2")
    with pytest.raises(UserError, match="is not a run folder"):
        open_run_folder(tmp_path)
    with pytest.raises(UserError, match="did not finish"):
        open_run_folder(tmp_path / "mnist-1").require_finished()


def test_damaged_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"name": ')
    with pytest.raises(DataError, match=r"data\.json: damaged"):
        RunFolder(tmp_path).read_json("data.json")
    with pytest.raises(DataError, match=r"has no summary\.json"):
        RunFolder(tmp_path).read_json("summary.json")


def test_a_file_of_someone_else_is_not_taken_for_a_dead_start(tmp_path: Path) -> None:
    for number, names in enumerate((["data.json"], [".lock", "data.json", "thesis.part"])):
        out = tmp_path / str(number)
        out.mkdir()
        for name in names:
            (out / name).write_text("mine")
        with pytest.raises(UserError, match="is not empty and is not a run"):
            create_run("net", root=tmp_path, out=out)


def test_what_a_killed_start_left_is_started_over(tmp_path: Path) -> None:
    for name in (".lock", "environment.json", ".data.json.123.part"):
        (tmp_path / name).write_text("")
    assert create_run("net", root=tmp_path, out=tmp_path).path == tmp_path


def test_resuming_is_not_advised_before_there_is_a_recipe(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        folder.write("file/state", b"")
    assert "--resume" not in str(caught.value)


def test_a_run_that_was_stopped_before_it_had_a_recipe_is_told_how_to_start(
    tmp_path: Path,
) -> None:
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"stopped before the first step. Start it again with --out"
    ):
        open_run_folder(tmp_path)


def test_what_a_killed_evaluate_left_goes_with_the_next(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run.path, run)
    whole = sorted(p.relative_to(run) for p in run.rglob("*"))
    for left in (".predictions.csv.17.part", "figures/.trust.png.0a1b2c3d.part", ".x.json.5.part"):
        (run / left).write_text("half")
    assert command("report", run).code == 0
    assert sorted(p.relative_to(run) for p in run.rglob("*")) == whole
