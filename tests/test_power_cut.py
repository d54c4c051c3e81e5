"""What a power cut leaves: a name appears after its content, and nothing is removed before.

The order of the system calls is the oracle: content synced, renamed, folder synced, and only then
is anything removed that the new name replaces.
"""

import hashlib
import os
from pathlib import Path

import pytest
from tests.kit import Command, disk_calls, striped

import firstlight as fl
from firstlight.data import download
from firstlight.data.entry import RemoteFile
from firstlight.files import make_folder, put_in_place, write_whole
from firstlight.verbs import fit

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync a folder")


def test_a_file_is_synced_renamed_and_its_folder_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = disk_calls(monkeypatch)
    write_whole(tmp_path / "a", "one")
    file, folder = (tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino
    assert [(what, inode) for what, inode, _ in calls.made] == [
        ("sync", file),
        ("rename", file),
        ("sync", folder),
    ]


def test_a_folder_is_put_in_place_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / ".set.part"
    (part / "deep").mkdir(parents=True)
    inside = [part / "pixels", part / "deep" / "about.json"]
    for path in inside:
        path.write_text("x")
    wanted = {path.stat().st_ino for path in (part, part / "deep", *inside)}
    calls = disk_calls(monkeypatch)
    put_in_place(part, tmp_path / "set")
    at = [what for what, _, _ in calls.made].index("rename")
    assert {inode for _, inode, _ in calls.made[:at]} == wanted
    assert [inode for _, inode, _ in calls.made[at + 1 :]] == [tmp_path.stat().st_ino]
    assert (tmp_path / "set" / "deep" / "about.json").read_text() == "x"


def test_new_folders_are_synced_in_those_that_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = disk_calls(monkeypatch)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert [inode for _, inode, _ in calls.made] == [
        tmp_path.stat().st_ino,
        (tmp_path / "a").stat().st_ino,
    ]


def test_a_checkpoint_goes_only_when_the_summary_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "LEAST_SECONDS", -1.0)
    calls = disk_calls(monkeypatch)
    out = tmp_path / "run"
    fl.train(striped(), recipe="digits-tutorial", epochs=2, out=out, quiet=True)
    assert calls.finished().unsafe == []
    assert out / "summary.json" in calls.places("rename")
    assert out / "checkpoint" / "state.safetensors" in calls.places("remove")


def test_what_the_other_verbs_write_survives_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits_run: fl.Run, command: Command
) -> None:
    calls = disk_calls(monkeypatch)
    run = tmp_path / "run"
    fl.train(striped(), recipe="digits-tutorial", epochs=1, out=run, quiet=True).evaluate()
    assert command("report", digits_run.path, run, "--out", tmp_path / "both.html").code == 0
    made = {path.name for path in calls.finished().places("rename")}
    assert calls.unsafe == []
    assert {"model.safetensors", "predictions.csv", "metrics.json", "both.html"} <= made


def test_a_download_survives_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "there" / "x.bin"
    source.parent.mkdir()
    source.write_bytes(b"pixels")
    file = RemoteFile(
        name="x.bin",
        urls=(source.as_uri(),),
        md5=hashlib.md5(b"pixels", usedforsecurity=False).hexdigest(),
        size=6,
    )
    calls = disk_calls(monkeypatch)
    download.fetch(file, tmp_path / "here", schemes=("file",))
    assert calls.finished().unsafe == []
    assert calls.places("rename") == [tmp_path / "here" / "x.bin"]
