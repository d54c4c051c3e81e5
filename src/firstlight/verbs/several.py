"""Training on several processes, started by a launcher such as torchrun.

All of them plan it, and the plans are compared. Then each trains in its own folder: the first one's
is the run, the others are deleted.
"""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from firstlight.errors import UserError
from firstlight.launcher import restarts
from firstlight.layers.own_code import COPY
from firstlight.progress import Display, Silent
from firstlight.runs import checkpoint, record
from firstlight.runs.folder import RunFolder, create_run, open_run_folder
from firstlight.training.interface import VARIABLE
from firstlight.training.processes import Processes, current, join
from firstlight.training.shards import check_divides
from firstlight.training.signs import ProcessLostError, ToldError
from firstlight.untrusted import shell_word
from firstlight.verbs import fit as alone
from firstlight.verbs.fit import AS_IT_WAS, AskedAgain, side_of
from firstlight.verbs.job import Job
from firstlight.verbs.plan import Asked, changed, plan, refuse_epochs_beside, settled, within
from firstlight.verbs.run_data import DataRequest

SHARDS = 8
"""Number of shards of a batch, if the recipe does not set it."""
_FILES = (
    *("environment.json", "data.json", "recipe.toml", "epochs.csv", COPY),
    *(checkpoint.STATE_FILE, checkpoint.START_FILE),
)
"""Files needed to resume a stopped run."""


def speaks() -> bool:
    """Whether this process reports how a training ended: the first of several, or the only one."""
    return current().first


def train(request: DataRequest, asked: Asked, display: Display, out: Path | None) -> RunFolder:
    """Train what is asked for on all processes, and return the run's folder in each.

    Raises ``UserError`` in the first process and ``ToldError`` in the others.
    """
    processes = _join(asked.device, display)
    with processes.watched():
        if restarts() > 0:
            begun = processes.agree(lambda: _begun(out))
            begun = processes.from_first(begun.encode()).decode()
            if begun:
                assert out is not None
                finished = begun == "finished"
                return RunFolder(out) if finished else _resume(processes, out, display)
        if not processes.first:
            request, asked = replace(request, quiet=True), replace(asked, told=None)

        def planned() -> Job:
            if asked.budget is not None:
                refuse_epochs_beside(asked.budget, asked.settings)
            job = plan(request, replace(asked, budget=None))
            check_divides(processes.count, job.recipe.train.shards or SHARDS)
            if job.recipe.train.shards:
                return job
            if processes.first:
                display.say(
                    f"Each batch is split into {SHARDS} shards, because the recipe sets no "
                    f"number: train.shards={SHARDS}"
                )
            return changed(job, [f"train.shards={SHARDS}"])

        job = processes.agree(planned)
        environments = _compared(processes, job, display)
        job = replace(job, environments=environments, track=job.track if processes.first else ())
        if (budget := asked.budget) is not None:
            whole = job
            job = processes.agree(lambda: settled(asked, within(budget, whole)))
        if processes.first and request.own is not None and asked.recipe is None:
            display.say(job.recipe.description)
        with _own_folder(processes, job.recipe.name, out) as folder:
            shown = display if processes.first else Silent()
            return _all(processes, folder, lambda: alone.fit(job, shown, out=folder))


def resume(path: Path, display: Display, again: AskedAgain) -> RunFolder:
    """Resume a stopped run on all processes; only the first needs access to its folder."""
    processes = _join(again.device or "auto", display)
    with processes.watched():
        return _resume(processes, path, display, again)


def _join(device: str, display: Display) -> Processes:
    processes = join(device)
    if processes.first and processes.interface:
        display.say(
            "The processes are on several machines. This one uses its network interface "
            f"{processes.interface}; to choose another, set {VARIABLE}"
        )
    return processes


def _resume(
    processes: Processes, path: Path, display: Display, again: AskedAgain = AS_IT_WAS
) -> RunFolder:
    def opened() -> list[bytes]:
        if not processes.first:
            return []
        folder = open_run_folder(path, again.code)
        side = side_of(folder)
        if side is not None and side.held_out is None:
            raise UserError(
                f"{path} is one of two runs to compare, which takes one process. Resume it "
                "without a launcher"
            )
        if not folder.finished:
            shards = folder.recipe().train.shards
            if not shards:
                raise UserError(
                    f"{path} was trained without shards, so several processes cannot share its "
                    "batches. Resume it without a launcher"
                )
            check_divides(processes.count, shards)
        files = [folder.path / name for name in _FILES]
        return [file.read_bytes() if file.is_file() else b"" for file in files]

    contents = processes.agree(opened) or [b""] * len(_FILES)
    contents = [processes.from_first(one) for one in contents]
    with tempfile.TemporaryDirectory() as copy:
        if not processes.first:
            own = RunFolder(Path(copy))
            for name, content in zip(_FILES, contents, strict=True):
                if content:
                    own.write(name, content)
        shown, where = (display, path) if processes.first else (Silent(), Path(copy))
        return _all(processes, where, lambda: alone.resume(where, shown, again))


def _begun(out: Path | None) -> str:
    """Return the state of a restarted training: ``finished``, ``stopped`` or empty."""
    if out is None:
        raise UserError(
            "a training that may be restarted needs a fixed folder to continue from: give --out"
        )
    if not (out / "recipe.toml").is_file():
        return ""
    return "finished" if RunFolder(out).finished else "stopped"


def _compared(processes: Processes, job: Job, display: Display) -> tuple[dict[str, Any], ...]:
    """Return the environment of each process. Raises if their data or recipes differ."""
    train, test = job.data
    same = {
        "training images": train.fingerprint,
        "test images": test.fingerprint,
        "choices": job.recipe.to_toml(),
    }
    like = {
        "processor": record.processor_name(),
        "torch": torch.__version__,
        "threads": job.threads,
        "device": job.device,
    }
    told = processes.gather_values([same, like, platform.node()])

    def compared() -> None:
        for name, wanted in same.items():
            if told[0][0][name] != wanted:
                raise UserError(
                    f"its {name} differ from those of process 0. Give all processes the same "
                    "data and the same command"
                )

    processes.agree(compared)
    for name in like:
        found = {str(one[name]) for _, one, _ in told}
        if len(found) > 1 and processes.first:
            display.say(
                f"The processes differ in {name} ({', '.join(sorted(found))}): the run is "
                "repeatable bit for bit only on the same ones"
            )
    return tuple({"host": host, **one} for _, one, host in told)


@contextmanager
def _own_folder(processes: Processes, name: str, out: Path | None) -> Iterator[Path]:
    """Return where this process trains: the run's folder, or a temporary one."""
    with tempfile.TemporaryDirectory() as other:

        def made() -> Path:
            if not processes.first:
                return Path(other) / "run"
            return create_run(name, root=Path("runs"), out=out).path

        yield processes.agree(made)


def _all(processes: Processes, path: Path, work: Callable[[], RunFolder]) -> RunFolder:
    """Return the first process's folder after all have done their work in ``path``."""
    try:
        folder = work()
    except ToldError:
        raise
    except ProcessLostError as error:
        if processes.first:
            raise ProcessLostError(str(error).replace("RUN", shell_word(path))) from error
        raise
    except UserError as error:
        if processes.first:
            raise
        raise ToldError(error.exit_code) from error
    place = processes.from_first(os.fsencode(folder.path.resolve()))
    return folder if processes.first else RunFolder(Path(os.fsdecode(place)))
