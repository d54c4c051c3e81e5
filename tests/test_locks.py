"""Locks end with their process, and checking one blocks nobody."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from firstlight import locks
from firstlight.data.kept import workplace
from firstlight.locks import alone, held, is_held

HOLDER = """
import sys
from pathlib import Path
from firstlight.locks import held
with held(Path(sys.argv[1])) as free:
    print(free, flush=True)
    input()
"""
COUNTER = """
import sys
from pathlib import Path
from firstlight import locks
locks.PAUSE = 0.001
place = Path(sys.argv[1])
print("counting", flush=True)
for _ in range(25):
    with locks.alone(place):
        count = place.with_name("count")
        count.write_text(str(int(count.read_text()) + 1))
"""
WORKER = """
import sys
from pathlib import Path
from firstlight.data.kept import workplace
with workplace(Path(sys.argv[1]), "key") as work:
    print(work.name, flush=True)
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
    """Start another process that runs ``program``, and yield its first line."""
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
        assert is_held(lock)  # a failed attempt takes nothing from the holder
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
                    counted[1] += counted[0]  # a second thread inside would show here
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


def test_who_waits_comes_in_one_after_another_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    lock = tmp_path / ".lock"
    with other(COUNTER, lock) as (_, first), other(COUNTER, lock) as (_, second):
        for _ in range(25):
            with alone(lock):
                count = int((tmp_path / "count").read_text())
                (tmp_path / "count").write_text(str(count + 1))
        assert first.wait() == second.wait() == 0
    assert (tmp_path / "count").read_text() == "75"
    assert [p.name for p in tmp_path.iterdir()] == ["count"]


def test_who_waits_for_a_killed_process_comes_in(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with other(HOLDER, lock) as (free, process):
        assert free == "True"
        process.kill()
        with alone(lock):
            assert is_held(lock)
    assert not lock.exists()


def test_nobody_waits_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".lock"
    with other(HOLDER, lock) as (theirs, _):
        assert theirs == "True" and is_held(lock)
        monkeypatch.setattr(locks, "try_lock", lambda _: None)
        with alone(lock):  # although the other process is in it
            assert is_held(lock)
    assert not lock.exists()


def test_a_lock_whose_file_the_one_before_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, tried = tmp_path / ".lock", locks.try_lock

    def late(descriptor: int) -> bool | None:
        monkeypatch.setattr(locks, "try_lock", tried)
        lock.unlink()
        return tried(descriptor)

    monkeypatch.setattr(locks, "try_lock", late)
    with held(lock) as free, other(HOLDER, lock) as (theirs, _):
        assert (free, theirs) == (True, "False")


def test_what_a_killed_process_worked_on_goes_and_a_running_ones_stays(tmp_path: Path) -> None:
    with other(WORKER, tmp_path) as (killed, process):
        (tmp_path / killed / "half").touch()
        process.kill()
        process.wait()
    with other(WORKER, tmp_path) as (alive, process):
        assert not (tmp_path / killed).exists()
        with workplace(tmp_path, "key") as work:
            assert work.is_dir()
            assert (tmp_path / alive).is_dir()
        process.communicate("\n")
    assert list(tmp_path.iterdir()) == []
