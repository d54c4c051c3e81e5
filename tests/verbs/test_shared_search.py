"""Four workers search together, and two are killed in a trial."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import firstlight as fl
from firstlight.verbs.shared_work import GRACE_SECONDS, LostTurnError, SharedWork
from firstlight.verbs.storage import address_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


def binary(name: str) -> str | None:
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(places[-1]) if places else None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start our own PostgreSQL server on loopback, and yield its address."""
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("no PostgreSQL server is installed")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp())
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-D", str(folder / "data"), "--auth=trust", "--username=me", "--no-sync"]
    subprocess.run([initdb, *words], check=True, capture_output=True, user=user, cwd=folder)
    process = subprocess.Popen(
        [
            *(postgres, "-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port)),
            *("-k", str(folder), "-F"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        user=user,
        cwd=folder,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "ready to accept connections" in line:
                break
        yield f"postgresql://me@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["postgresql", "s.journal"])
def storage(request: pytest.FixtureRequest) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("server"))
    return str(request.param)


def test_two_of_four_workers_are_killed_and_the_others_do_it_all(
    storage: str, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("search_workers.py")
    ran = subprocess.run([sys.executable, script, tmp_path, storage], capture_output=True)
    assert ran.returncode == 0, ran.stderr

    logs = [(tmp_path / f"worker-{n}.log").read_text() for n in (2, 3)]
    assert (tmp_path / "codes").read_text() == "-9 -9 0 0", logs
    whole = [json.loads((tmp_path / f"out-{n}" / "search.json").read_text()) for n in (2, 3)]
    first, second = ({**one, "folder": "", "best_recipe": ""} for one in whole)
    assert first == second
    dead = [one for one in first["trials"] if one["state"] == "failed"]
    assert [one["why"] for one in dead] == ["its worker died"] * 2
    ended = {one["slot"]: one for one in first["trials"] if one["state"] != "failed"}
    assert sorted(ended) == list(range(6))  # this many trials, and no more
    assert len(first["trials"]) == 8
    for one in dead:  # the same settings again
        assert ended[one["slot"]]["settings"] == one["settings"]
    for one in ended.values():
        run = fl.open_run(tmp_path / one["folder"])
        note = json.loads((run.path / "trial.json").read_text())
        assert note["state"] == ("finished" if one["state"] == "finished" else "stopped early")
        if one["state"] == "finished":
            assert run.summary["kept_epoch"]["validation_accuracy"] == one["value"]
    assert first["test"]["n"] == 2
    assert "optuna" not in "".join(logs).lower()


def test_a_worker_elsewhere_is_dead_after_a_minute_without_a_sign_of_life(tmp_path: Path) -> None:
    """As seen by another worker, whose clock alone counts."""

    address = address_of(str(tmp_path / "s.journal"))
    far, near = (SharedWork.joined(address, "work") for _ in range(2))
    far._host = "elsewhere"
    now = [0.0]
    near._clock = lambda: now[0]
    turn = far._claim(1)
    assert turn is not None
    for beat in range(3):  # each just in time
        turn.trial.set_user_attr("beat", beat)
        near._revive(1)
        now[0] += GRACE_SECONDS
        near._revive(1)
        assert [one.state for one in near.results()] == ["running"]
    now[0] += 1.0
    near._revive(1)
    assert [one.state for one in near.results()] == ["failed", "waiting"]
    with pytest.raises(LostTurnError):  # it was only suspended, and finds out
        far.write(turn, {})
    again = near._claim(1)
    assert again is not None and (again.slot, again.attempt) == (0, 2)
    near.finish(again, 0.5)
    assert near._is_settled(1)


@pytest.mark.parametrize("name", ["s.journal", "s.db"])
def test_two_workers_that_find_a_dead_turn_at_once_give_it_up_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = address_of(str(tmp_path / name))
    dead, one, other = (SharedWork.joined(address, "work") for _ in range(3))
    assert dead._claim(1) is not None
    for work in (one, other):
        monkeypatch.setattr(work, "_is_dead", lambda turn: True)
    storage = one._study._storage
    write, late = storage.set_trial_state_values, [True]

    def write_late(*args: Any, **more: Any) -> bool:
        if late:
            late.clear()
            other._revive(1)
        return write(*args, **more)

    monkeypatch.setattr(storage, "set_trial_state_values", write_late)
    one._revive(1)
    assert not late
    assert [turn.state for turn in one.results()] == ["failed", "waiting"]


def test_a_slot_that_fails_three_times_is_given_up_and_interruptions_do_not_count(
    tmp_path: Path,
) -> None:
    work = SharedWork.joined(address_of(str(tmp_path / "s.db")), "work")
    for guilty in (True, False, False, True, False, True):
        work._revive(1)
        turn = work._claim(1)
        assert turn is not None and turn.slot == 0
        work.fail(turn, "it broke", counts=guilty)
    work._revive(1)
    assert work._is_settled(1)
    assert work._claim(1) is None
    failed, innocent = "failed", "interrupted"
    states = [one.state for one in work.results()]
    assert states == [failed, innocent, innocent, failed, innocent, failed]


def test_half_a_line_in_a_journal_is_dropped_and_what_was_there_is_kept(tmp_path: Path) -> None:
    """As left by a killed process, or a machine that loses power."""
    path = tmp_path / "s.journal"
    address = address_of(str(path))
    first = SharedWork.joined(address, "work")
    turn = first._claim(2)
    assert turn is not None
    first.finish(turn, 0.5)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])

    second = SharedWork.joined(address, "work")
    turn = second._claim(2)
    assert turn is not None and turn.slot == 1
    second.finish(turn, 0.75)
    assert [json.loads(line) for line in path.read_bytes().splitlines()]
    for work in (first, second, SharedWork.joined(address, "work")):
        assert [one.value for one in work.results()] == [0.5, 0.75]


@pytest.mark.parametrize("content", ["a text without an end", '{"a": 1}', '{"op_code":1}\nnotes'])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s.journal"
    path.write_text(content)
    with pytest.raises(
        fl.UserError, match=r"s\.journal: not (an Optuna storage|written by this version)"
    ):
        SharedWork.joined(address_of(str(path)), "work").note("key", 1)
    assert path.read_text() == content


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_on_a_full_disk_a_journal_stays_whole_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    import resource

    path = tmp_path / "s.journal"
    work = SharedWork.joined(address_of(str(path)), "work")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 30, limits[1]))
    try:
        with pytest.raises(fl.UserError, match=r"s\.journal: cannot be used: File too large"):
            work.note("key", "x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    work.note("key", "value")
    assert SharedWork.joined(address_of(str(path)), "work").noted("key") == "value"


def test_a_storage_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("s.db", "s.journal"):
        with pytest.raises(fl.UserError, match=r"no such folder .*nowhere; create it"):
            SharedWork.joined(address_of(str(tmp_path / "nowhere" / name)), "work")
    assert not (tmp_path / "nowhere").exists()


def test_of_two_workers_that_take_the_last_slot_at_once_one_lets_it_go(tmp_path: Path) -> None:
    address = address_of(str(tmp_path / "s.journal"))
    one, other = (SharedWork.joined(address, "work") for _ in range(2))
    before = other._slots()  # as both see it

    first = one._claim(1)
    slots, asked = other._slots, [before]
    other._slots = lambda: asked.pop() if asked else slots()  # type: ignore[method-assign]
    assert first is not None
    assert other._claim(1) is None
    one.finish(first, 0.5)
    assert [result.state for result in other.results()] == ["finished"]
