"""Trains what waits in a working folder, one training after another, then ends.

``python -m firstlight.studio.worker FOLDER``. It is a process of its own, so it goes on if the page
is closed or the server is killed. Each training is a process too: one that runs out of memory
ends alone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import firstlight
from firstlight.locks import held, is_held
from firstlight.studio.trainings import FAILED, STARTED, STOPPED, TRAINING, Queue, Training
from firstlight.studio.workshop import Workshop

LOCK = ".worker"
PAUSE = 0.5
"""Seconds between two looks whether a training has ended."""


def is_working(workshop: Workshop) -> bool:
    """Whether a worker trains what waits here."""
    return is_held(workshop.trainings / LOCK)


def start_worker(workshop: Workshop, data_dir: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start a worker that outlives this process. If there is one already, the new one ends."""
    return started("firstlight.studio.worker", str(workshop.root), workshop, data_dir)


def main(workshop: Workshop) -> None:
    """Train until nothing waits."""
    queue = Queue(workshop)
    # Something may be added between the last look and the release of the lock.
    while queue.next() is not None:
        with held(workshop.trainings / LOCK) as free:
            if not free:
                return
            while (training := queue.next()) is not None:
                _wait_for_orphans(queue)
                _train(training)


def _wait_for_orphans(queue: Queue) -> None:
    """Wait for trainings whose worker was killed: two at once would take twice as long."""
    while any(one.state == TRAINING for one in queue.all()):
        time.sleep(PAUSE)


def _train(training: Training) -> None:
    # Until it is known how the process ended, nobody may put the training into the queue again.
    with held(training.folder / STARTED):
        with (training.folder / "log.txt").open("ab") as log:
            process = started(
                "firstlight.studio.training",
                str(training.folder),
                training.workshop,
                output=log,
            )
            code = process.wait()
        if not training.ended:
            state = STOPPED if training.stop_wanted else FAILED
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            kept = " What was saved is kept." if training.resumes else ""
            training.end(state, f"Its process was ended from outside ({how}).{kept}")


def started(
    module: str,
    arguments: str | Sequence[str],
    workshop: Workshop,
    data_dir: Path | None = None,
    *,
    output: Any = subprocess.DEVNULL,
    piped: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start a module of this package as a process, in the working folder. With ``piped``, its
    input and output are pipes."""
    package = str(Path(firstlight.__file__).parents[1])
    words = [arguments] if isinstance(arguments, str) else arguments
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    data = {} if data_dir is None else {"FIRSTLIGHT_DATA": str(data_dir.resolve())}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *words],
        stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else output,
        stderr=output,
        cwd=workshop.root,
        env={**os.environ, "PYTHONPATH": path, **data},
        # Neither Ctrl-C nor the end of the terminal is meant for it.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows
    )


if __name__ == "__main__":
    main(Workshop(Path(sys.argv[1])))
