"""Locks end with their process, and whoever asks for one is in nobody's way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from firstlight.locks import held, is_held

HOLDER = """
import sys
from pathlib import Path
from firstlight.locks import held
with held(Path(sys.argv[1])) as free:
    print(free, flush=True)
    input()
"""
ASKER = """
import sys
from pathlib import Path
from firstlight.locks import is_held
print("asking", flush=True)
while True:
    assert not is_held(Path(sys.argv[1]).with_name("nothing"))
    is_held(Path(sys.argv[1]))
"""


@contextmanager
def other(program: str, path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Another process that runs ``program``, and its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_one_process_holds_it_and_others_see_that_until_it_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert not is_held(lock)
    with other(HOLDER, lock) as (free, process):
        assert free == "True"
        assert is_held(lock)
        with held(lock) as ours:
            assert not ours
        assert is_held(lock)  # having tried takes nothing from the holder
        process.kill()
        process.wait()
        assert not is_held(lock)
        with held(lock) as ours:
            assert ours


def test_a_process_sees_its_own_lock_and_asking_does_not_drop_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with held(lock) as first:
        assert first
        assert is_held(lock)
        with held(lock) as second:
            assert not second
        assert is_held(lock)
        with other(HOLDER, lock) as (free, _):
            assert free == "False"
        with other(
            "import sys; from pathlib import Path; from firstlight.locks import is_held\n"
            "print(is_held(Path(sys.argv[1])))",
            lock,
        ) as (seen, _):
            assert seen == "True"
    assert not is_held(lock)


def test_nobody_is_refused_because_somebody_asked(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch()
    with other(ASKER, lock) as (first, _), other(ASKER, lock) as (second, _):
        assert (first, second) == ("asking", "asking")
        refused = 0
        for _ in range(2000):
            with held(lock) as free:
                refused += not free
    assert refused == 0


def test_asking_takes_no_lock_not_even_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="this system asks in another way")

    def taken(*_: object) -> None:
        raise AssertionError("a lock was taken")

    lock = tmp_path / ".lock"
    lock.touch()
    with other(HOLDER, lock) as (free, _):
        monkeypatch.setattr(fcntl, "flock", taken)
        monkeypatch.setattr(fcntl, "lockf", taken)
        assert (free, is_held(lock)) == ("True", True)
    assert not is_held(lock)


def test_threads_of_one_process_keep_each_other_out(tmp_path: Path) -> None:
    lock, counted = tmp_path / ".lock", [0, 0]

    def work() -> None:
        for _ in range(300):
            with held(lock) as free:
                if free:
                    counted[1] += counted[0]  # another thread inside would show here
                    counted[0] += 1
                    counted[0] -= 1

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [0, 0]
    assert not is_held(lock)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_what_is_no_plain_file_holds_nothing_up_and_is_not_written_through(tmp_path: Path) -> None:
    theirs = tmp_path / "thesis"
    theirs.write_text("mine")
    (tmp_path / "link").symlink_to(theirs)
    os.mkfifo(tmp_path / "pipe")
    assert not is_held(tmp_path / "pipe")
    assert not is_held(tmp_path / "link")
    with pytest.raises(OSError), held(tmp_path / "link"):
        pass
    assert theirs.read_text() == "mine"


def test_asking_needs_no_right_to_write(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with other(HOLDER, lock) as (free, _):
        lock.chmod(0o444)
        assert (free, is_held(lock)) == ("True", True)
