"""Four workers search together, of which two are killed in a trial."""

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

import pytest

import firstlight as fl

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


def binary(name: str) -> str | None:
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(places[-1]) if places else None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, on loopback, with its own data."""
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
    assert sorted(ended) == list(range(6))  # so many trials, and no more
    assert len(first["trials"]) == 8
    for one in dead:  # the same settings, once more
        assert ended[one["slot"]]["settings"] == one["settings"]
    for one in ended.values():
        run = fl.open_run(tmp_path / one["folder"])
        note = json.loads((run.path / "trial.json").read_text())
        assert note["state"] == ("finished" if one["state"] == "finished" else "stopped early")
        if one["state"] == "finished":
            assert run.summary["kept_epoch"]["validation_accuracy"] == one["value"]
    assert first["test"]["n"] == 2
    assert "optuna" not in "".join(logs).lower()
