"""Four workers of a search; the first two are killed while all four are in a trial.

usage: python search_workers.py FOLDER STORAGE

Each is forked from this process, so that PyTorch and others are imported once. Writes the exit
codes of the four to FOLDER/codes.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg  # noqa: F401 - before the forks, as are the others
import sklearn.datasets  # noqa: F401

from firstlight.cli.main import main
from firstlight.report import charts  # noqa: F401
from firstlight.verbs import sampling, shared_work, storage, tune_report  # noqa: F401

WORKERS, DOOMED = 4, 2


def held_up(in_trial: int, go_on: int) -> Callable[..., bool]:
    """Replaces the report of an epoch: the first one says so, and waits to be released."""
    report, first = shared_work.SharedWork.report, [True]

    def held(*more: object) -> bool:
        if first.pop() if first else False:
            os.write(in_trial, b".")
            os.read(go_on, 1)
        return report(*more)  # type: ignore[arg-type]

    return held


def work(number: int, folder: Path, where: str) -> None:
    os.chdir(folder)
    log = os.open(f"worker-{number}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    shared_work.POLL_SECONDS = 0.05
    words = ["digits", "--set", "train.epochs=2", "--trials", "6", "--seeds", "2"]
    sys.argv = ["firstlight", "tune", *words, "--storage", where, "--out", f"out-{number}"]
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    os._exit(code)


def start(folder: Path, where: str) -> None:
    (saying, in_trial), (go_on, letting) = os.pipe(), os.pipe()
    shared_work.SharedWork.report = held_up(in_trial, go_on)  # type: ignore[method-assign]
    children = []
    for number in range(WORKERS):
        child = os.fork()
        if child == 0:
            work(number, folder, where)
        children.append(child)
    for _ in children:
        os.read(saying, 1)
    for child in children[:DOOMED]:
        os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children[:DOOMED]]
    os.write(letting, b"..")
    codes += [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children[DOOMED:]]
    (folder / "codes").write_text(" ".join(map(str, codes)))


if __name__ == "__main__":
    start(Path(sys.argv[1]), sys.argv[2])
