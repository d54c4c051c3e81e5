"""The number of threads, and how they wait, according to the environment."""

import os
import subprocess
import sys

import pytest

from firstlight.threads import MOST_THREADS, SPINS, usable_threads


@pytest.mark.parametrize(("words", "threads"), [("3", 3), ("2,1", 2), ("999999999", MOST_THREADS)])
def test_as_many_threads_as_the_environment_says(
    words: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", words)
    assert usable_threads() == threads


@pytest.mark.parametrize("words", ["0", "", "many", "-2"])
def test_else_as_many_as_there_are_processors(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firstlight.threads._cgroup_quota", lambda _: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", words)
    assert usable_threads() == 3


def test_the_command_says_how_threads_wait_before_pytorch_is_there() -> None:
    code = (
        "import sys, firstlight.cli.app as m, os; "
        "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", str(SPINS)]


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, str(SPINS)),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_waiting_threads_sleep_soon_unless_the_environment_says_how(
    given: dict[str, str], spins: str
) -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import firstlight, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == spins
