"""A run killed at any moment and resumed ends with the bits of an uninterrupted run."""

import csv
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).with_name("training_job.py")


def job(run: Path, kill_after: float | None = None) -> int:
    """Return the job's exit code; with ``kill_after`` seconds, SIGKILL then (a negative code)."""
    process = subprocess.Popen([sys.executable, str(JOB), str(run)])
    try:
        return process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def epochs_without_times(run: Path) -> list[dict[str, str]]:
    with (run / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["train_seconds"]
    return rows


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.usefixtures("warm")
def test_a_run_killed_at_random_moments_and_resumed_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert job(whole) == 0
    # The work takes one to three seconds. Some kills come before the first state, some between two,
    # some during a write. The moments differ from call to call.
    codes: list[int] = []
    while len(codes) < 5 and 0 not in codes:
        codes.append(job(killed, kill_after=random.uniform(0.2, 3.0)))
    assert set(codes) <= {0, -signal.SIGKILL}
    if 0 not in codes:
        assert job(killed) == 0
    weights = [(run / "model.safetensors").read_bytes() for run in (whole, killed)]
    assert weights[0] == weights[1]
    assert epochs_without_times(whole) == epochs_without_times(killed)
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
