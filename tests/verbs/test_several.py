"""Trainings on several processes: the same bits on any number of them, also after a death."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.kit import ended, launched

from firstlight.errors import UserError
from firstlight.progress import Silent
from firstlight.recipe import load_recipe
from firstlight.training.processes import Processes
from firstlight.training.signs import ToldError
from firstlight.verbs import several
from firstlight.verbs.plan import plan_on

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="torchrun is tried on Linux alone"),
    pytest.mark.usefixtures("warm"),
]
NETWORK = (
    "network.layers=[{ conv = 4, bias = false }, { batch-norm = true }, { activation = 'relu' }, "
    "{ max-pool = 2 }, { flatten = true }, { dropout = 0.3 }, { dense = 'classes' }]"
)
WORDS = (
    *("train", "digits", "--recipe", "digits-tutorial", "--seed", "3"),
    *("--set", NETWORK, "--set", "train.average_decay=0.9", "--set", "train.epoch_share=0.6"),
)


def started(*words: str, processes: int = 0, options: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start the command by torchrun on ``processes`` processes; directly for none."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *([*launch, *options] if processes else []), "-m", "firstlight", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )


def done(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run trained by one process without a launcher."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, _, err = done(started(*WORDS, "--set", "train.shards=8", "--epochs=6", f"--out={out}"))
    assert code == 0, err
    return out


def test_a_run_has_the_same_bits_on_four_processes(whole: Path, tmp_path: Path) -> None:
    out, processes = tmp_path / "run", 4
    words = ["-m", "firstlight", *WORDS, "--epochs=6", f"--out={out}"]
    codes, told, err = ended(launched(words, processes))
    assert codes == [0] * processes, err
    assert told.count("train.shards=8") == 1 and told.count(f"run {out}") == 1
    assert weights(out) == weights(whole)
    lines = [(run / "epochs.csv").read_text().splitlines() for run in (whole, out)]
    first, second = ([line.rpartition(",")[0] for line in one] for one in lines)  # without seconds
    assert first == second
    environment = json.loads((out / "environment.json").read_text())
    assert [one["threads"] for one in environment["processes"]] == [1] * processes
    assert not [path for path in tmp_path.iterdir() if path != out]


BY_A_CLOCK = """
import itertools, os, sys, time
looks, tick = itertools.count(), 0.01 if os.environ["RANK"] == "0" else 100.0
time.perf_counter = lambda: tick * next(looks)

import firstlight as fl
data, recipe, setting, out = sys.argv[1:]
fl.train(data, recipe, budget=6.0, settings=setting, out=out, quiet=True)
"""
"""A clock that advances at each reading: in the first process by so little that some epochs fit on
any machine, and in the other by so much that none would."""


def test_a_budget_is_kept_by_the_first_ones_clock_and_the_run_repeats(tmp_path: Path) -> None:
    out, again = tmp_path / "run", tmp_path / "again"
    script = tmp_path / "script.py"
    script.write_text(BY_A_CLOCK)
    codes, _, err = ended(launched([script, "digits", "digits-tutorial", NETWORK, out], 2))
    assert codes == [0, 0], err
    recipe = load_recipe(out / "recipe.toml")
    assert recipe.train.shards == 8 and recipe.train.epochs > 1
    code, _, err = done(started("train", "digits", f"--recipe={out}/recipe.toml", f"--out={again}"))
    assert code == 0, err
    assert weights(again) == weights(out)


def in_third_epoch(process: subprocess.Popen[str]) -> None:
    """Wait until a process tells that its second epoch is over."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break


def test_after_a_stop_the_run_goes_on_with_another_number(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first, second = launched(["-m", "firstlight", *WORDS, "--epochs=6", f"--out={out}"], 2)
    in_third_epoch(first)
    second.send_signal(signal.SIGTERM)
    codes, _, err = ended([first, second])
    assert 0 not in codes
    assert err.count(f"firstlight train --resume {out}") == 1, err
    code, _, err = done(started("train", "--resume", str(out)))
    assert code == 0, err
    assert weights(out) == weights(whole)


def kill(out: Path, rank: str) -> None:
    """Kill one process of a run that torchrun started."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            variables = (entry / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        if f"--out={out}" in words and f"RANK={rank}" in variables:
            os.kill(int(entry.name), signal.SIGKILL)


def test_torchrun_starts_a_training_again_that_goes_on_by_itself(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ("--max-restarts=1",)
    process = started(*WORDS, "--epochs=6", f"--out={out}", processes=2, options=options)
    in_third_epoch(process)
    kill(out, "1")
    code, _, err = done(process)
    assert code == 0, err
    assert len(re.findall(r"firstlight: process 1 \(pid \d+ on .* was lost", err)) == 1, err
    assert weights(out) == weights(whole)


def test_processes_that_do_not_divide_the_shards_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = done(started(*WORDS, "--set=train.shards=5", "--out=run", processes=2))
    assert code != 0
    assert err.count("firstlight: ") == 1, err
    assert err.count("Use 1 or 5 processes") == 1, err
    assert not (tmp_path / "run").exists()


class Others(Processes):
    """Processes of which the others send what a test specifies."""

    def __init__(self, rank: int, others: list[object]) -> None:
        super().__init__(rank, 2)
        self._others = others

    def gather_values(self, value: object) -> list[object]:
        other = self._others.pop(0)
        return [value, other] if self.rank == 0 else [other, value]


def test_data_that_is_not_the_same_on_all_processes_is_told_by_the_first() -> None:
    import firstlight as fl

    job = plan_on(fl.load("digits"), load_recipe("digits-tutorial"), "cpu")
    alike = {"processor": "?", "torch": "?", "threads": 1, "device": "cpu"}
    other = [{"training images": "others", "test images": "", "choices": ""}, alike, "host"]
    with pytest.raises(UserError, match="process 1: its training images differ"):
        several._compared(Others(0, [other, [2, "its training images differ"]]), job, Silent())
    with pytest.raises(ToldError):
        several._compared(Others(1, [other, None]), job, Silent())
