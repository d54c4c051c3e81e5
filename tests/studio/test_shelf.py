"""The runs that the studio shows: those in its folder as they are now, whatever else is there."""

import shutil
from pathlib import Path

import pytest
from tests.studio.conftest import running

import firstlight as fl
from firstlight.runs import checkpoint
from firstlight.runs.folder import RunFolder


def test_a_damaged_run_does_not_hide_the_others_and_weights_are_read_when_needed(
    digits_run: fl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    for name in ("good", "cut", "headless", "no-data", "replaced"):
        shutil.copytree(digits_run.path, runs / name)
    weights = (runs / "cut" / "model.safetensors").read_bytes()
    (runs / "cut" / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (runs / "headless" / "model.safetensors").write_bytes(b"")
    (runs / "no-data" / "data.json").write_text("{}")
    (runs / "a file").write_text("")
    read = list[str]()
    load = checkpoint.load_model

    def noted(folder: RunFolder, device: str = "cpu") -> checkpoint.SavedModel:
        read.append(str(folder))
        return load(folder, device)

    monkeypatch.setattr(checkpoint, "load_model", noted)
    with running(tmp_path) as studio, studio.client() as client:
        read.clear()  # the bundled models are opened at the start
        names = [run["name"] for run in client.get("/api/runs").json()]
        assert sorted(names) == ["cifar10", "good", "mnist", "replaced"]
        assert set(names[-2:]) == {"mnist", "cifar10"}
        assert read == []
        assert client.get("/api/runs/good/test/0.png").status_code == 200
        # Runs come and go while it is open.
        shutil.rmtree(runs / "replaced")
        shutil.copytree(digits_run.path, runs / "new")
        names = [run["name"] for run in client.get("/api/runs").json()]
        assert sorted(names) == ["cifar10", "good", "mnist", "new"]
        assert client.get("/api/runs/replaced/training").status_code == 404
