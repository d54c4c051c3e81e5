"""Ctrl-C ends a run cleanly, and failing storage loses nothing that was saved."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import firstlight as fl
from firstlight.errors import DataError
from firstlight.runs import checkpoint
from firstlight.runs.folder import RunFolder
from firstlight.verbs import fit

START = ["train", "digits", "--epochs", "3", "--seed", "5", "--set", "train.batch_size=16"]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "firstlight", *words]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT between processes")
@pytest.mark.usefixtures("warm")
def test_ctrl_c_saves_the_state_says_how_to_go_on_and_exits_130(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    subprocess.run(command(*START, "--out", str(whole)), check=True, capture_output=True)
    process = subprocess.Popen(
        command(*START, "--out", str(stopped)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 1/3")
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in message
    found = re.search(r"firstlight train --resume (\S+)", message)
    assert found is not None and found[1] == str(stopped)
    assert not (stopped / "summary.json").exists()
    subprocess.run(command("train", "--resume", found[1]), check=True, capture_output=True)
    ends = [(run / "model.safetensors").read_bytes() for run in (whole, stopped)]
    assert ends[0] == ends[1]


def test_a_disk_that_fills_up_half_way_keeps_the_state_and_the_run_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fl.train("digits", epochs=3, seed=2, out=tmp_path / "whole", quiet=True)
    plain_write, states = RunFolder.write, 0

    def filling(self: RunFolder, name: str, content: str | bytes) -> Path:
        nonlocal states
        if name == checkpoint.STATE_FILE:
            states += 1
            if states == 2:
                raise DataError(f"{name}: No space left on device")
        return plain_write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", filling)
        patch.setattr(fit, "LEAST_SECONDS", 0.0)  # a state after every epoch, however short
        with pytest.raises(DataError, match="No space left"):
            fl.train("digits", epochs=3, seed=2, out=tmp_path / "full", quiet=True)
    saved = checkpoint.load_state(RunFolder(tmp_path / "full"))
    assert saved is not None and saved[1]["epoch"] == 1
    run = fl.resume(tmp_path / "full", quiet=True)
    ends = [(r.path / "model.safetensors").read_bytes() for r in (whole, run)]
    assert ends[0] == ends[1]


def test_a_finished_run_is_not_resumed_and_other_data_is_refused(tmp_path: Path) -> None:
    run = fl.train("digits", epochs=1, out=tmp_path / "run", quiet=True)
    with pytest.raises(fl.UserError, match="nothing to resume"):
        fl.resume(run.path)
    (run.path / "summary.json").unlink()
    train, test = fl.load("digits")
    with pytest.raises(
        DataError, match="the train images are not those that the run was trained with"
    ):
        fl.resume(run.path, fl.TrainTest(test, train), quiet=True)


def test_a_run_of_a_device_that_is_gone_is_told_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RunFolder.write

    def stop(self: RunFolder, name: str, content: str | bytes) -> Path:
        if name == "epochs.csv":
            raise KeyboardInterrupt
        return plain(
            self,
            name,
            content.replace('"device": "cpu"', '"device": "cuda"')
            if isinstance(content, str)
            else content,
        )

    monkeypatch.setattr(RunFolder, "write", stop)
    with pytest.raises(fl.UserError, match=r"stopped\. Continue with: firstlight train --resume"):
        fl.train("digits", epochs=1, out=tmp_path / "run", quiet=True, device="cpu")
    monkeypatch.setattr(RunFolder, "write", plain)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        fl.UserError, match=r"started on cuda, which this machine does not have.*--device cpu"
    ):
        fl.resume(tmp_path / "run", quiet=True)
