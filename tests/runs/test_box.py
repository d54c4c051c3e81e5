"""Models that come with firstlight, opened by name; another box takes its place here."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.kit import Command, disk_calls

import firstlight as fl
from firstlight.runs import box
from firstlight.runs.folder import open_run_folder

KEPT = ("recipe.toml", "environment.json", "data.json", "epochs.csv", "summary.json")


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits_run: fl.Run) -> Path:
    """Make a box with one model, ``scans``; returns its folder in the installation."""
    folder = tmp_path / "installed" / "scans"
    folder.mkdir(parents=True)
    for name in (*KEPT, "model.safetensors"):
        shutil.copy(digits_run.path / name, folder)
    shutil.copy(digits_run.path / "metrics.json", folder / "measured.json")
    monkeypatch.setattr(box, "BOX", folder.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.fromarray(fl.load("digits").test.images_NHWC[0, ..., 0]).save(path)
    return path


def test_a_model_in_the_box_is_a_run_under_its_name_and_its_installed_files_stay_as_they_are(
    command: Command, shipped: Path, scan: Path, digits_run: fl.Run
) -> None:
    before = contents(shipped)

    answered = command("predict", "scans", scan, "--json")
    measured = command("evaluate", "scans", "--json")

    (expected,) = digits_run.predict(scan)
    assert json.loads(answered.out)[0]["answer"] == expected.answer
    assert json.loads(measured.out)["accuracy"] == digits_run.evaluate().accuracy
    assert contents(shipped) == before
    copy = open_run_folder(Path("scans"))
    assert (copy.path / "predictions.csv").is_file()  # and it is found again
    assert copy.name == "scans"


def test_a_folder_of_that_name_comes_before_the_box(
    command: Command, shipped: Path, scan: Path
) -> None:
    Path("scans").mkdir()
    done = command("predict", "scans", scan)
    assert done.code == 2
    assert "scans is not a run folder" in done.err


def test_a_model_in_the_box_is_no_folder_of_runs(command: Command, shipped: Path) -> None:
    done = command("runs", "scans")
    assert (
        done.code,
        "scans is itself a run. See it with: firstlight report scans" in done.err,
    ) == (
        2,
        True,
    )


def test_other_files_in_the_box_are_another_copy(shipped: Path) -> None:
    first = box.boxed_folder("scans")
    (shipped / "summary.json").write_text("{}")
    assert box.boxed_folder("scans") != first
    assert (box.boxed_folder("scans") / "summary.json").read_text() == "{}"


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_file_of_the_copy_that_is_not_as_installed_is_copied_again(
    shipped: Path, damage: bytes | None
) -> None:
    copy = box.boxed_folder("scans")
    (copy / "metrics.json").write_text("the copy's own")
    for name in ("model.safetensors", "recipe.toml", "data.json"):
        (copy / name).unlink() if damage is None else (copy / name).write_bytes(damage)
    assert box.boxed_folder("scans") == copy
    for name, blob in contents(shipped).items():
        assert (copy / name).read_bytes() == blob
    assert (copy / "metrics.json").read_text() == "the copy's own"
    assert box.boxed_folder("scans") == copy


def test_what_a_command_measured_of_the_copy_stays(shipped: Path) -> None:
    (shipped / "robustness.json").write_text("as installed")
    copy = box.boxed_folder("scans")
    (copy / "robustness.json").write_text("measured here")
    box.boxed_folder("scans")
    assert (copy / "robustness.json").read_text() == "measured here"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync a folder")
def test_a_copy_survives_a_power_cut(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = disk_calls(monkeypatch)
    copy = box.boxed_folder("scans")
    (copy / "recipe.toml").write_text("")
    box.boxed_folder("scans")
    assert calls.finished().unsafe == []
    assert {copy, copy / "recipe.toml"} <= set(calls.places("rename"))


def test_where_the_cache_takes_nothing_the_model_answers_all_the_same(
    command: Command, shipped: Path, scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, where a folder is wanted")
    assert command("predict", "scans", scan).code == 0


def test_without_the_test_images_evaluate_tells_what_was_measured_when_the_model_was_made(
    command: Command, shipped: Path, nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = json.loads((shipped / "data.json").read_text())
    (shipped / "data.json").write_text(json.dumps({**described, "name": "mnist"}))
    monkeypatch.chdir(nothing_cached)

    done = command("evaluate", "scans", "--json")

    wanted = json.loads((shipped / "measured.json").read_text())
    assert done.code == 0
    assert json.loads(done.out)["accuracy"] == wanted["accuracy"]
    assert json.loads(done.out)["per_class"] == wanted["per_class"]
    assert "These figures are from when the model was made" in done.err
    assert "firstlight data fetch mnist" in done.err
    assert command("evaluate", "scans", "--require", "accuracy>=0.9999").code == 4
    assert command("evaluate", "scans", "--robustness").code == 3


def test_a_name_that_is_neither_says_which_there_are(command: Command, shipped: Path) -> None:
    done = command("predict", "nothing", "x.png")
    assert done.code == 2
    assert "no such run folder; models in the box: scans" in done.err


def test_half_precision_comes_back_as_the_nearest_numbers(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    import torch

    from firstlight.runs.checkpoint import load_model, save_model
    from firstlight.runs.folder import RunFolder

    saved, folder = load_model(RunFolder(digits_run.path)), RunFolder(tmp_path)
    save_model(folder, saved, half=True, card="# A card")
    whole = (digits_run.path / "model.safetensors").stat().st_size
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * whole
    stored = load_model(folder).model.state_dict()
    for name, tensor in saved.model.state_dict().items():
        expected = tensor.to(torch.float16).float() if tensor.ndim > 1 else tensor
        assert torch.equal(stored[name], expected), name
