"""Trainings that were asked for in the page: a queue on the disk.

Each is a folder that holds what was wanted and how far it is. So a closed page, a reload or a
killed server loses nothing, and several processes see the same.

==============  ==================================================================================
wanted.json     what to train: ``Wanted``
.lock           held by the process that trains it
.started        held by the worker until that process has ended
progress.json   how far it is, written about twice a second
forming.json    the answers to ten held-out images after each epoch, and the first filters
image-N.png     those images
log.txt         what the process printed
stop            somebody wants it to stop
ended.json      how it ended; without it and without a lock, it waits or was cut off
==============  ==================================================================================
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from firstlight.errors import DataError, UserError
from firstlight.files import make_folder, write_whole
from firstlight.locks import alone, is_held
from firstlight.plain import read_json, write_json
from firstlight.runs.folder import RunFolder
from firstlight.studio.workshop import Workshop

WAITING, TRAINING, FINISHED = "waiting", "training", "finished"
STOPPED, FAILED = "stopped", "failed"
STARTED = ".started"
_NAME = re.compile(r"\w[\w.-]{0,79}")
_NUMBER = re.compile(r"\d{4,9}")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a training is to do."""

    run: str
    """Name of its run folder, in ``runs``."""
    data: str
    """A named data set, or a folder of pictures relative to the working folder."""
    recipe: str = ""
    """TOML. If empty, the recipe is chosen by the data."""
    start: str = ""
    """A backbone, or ``none``. If empty, the data decides."""
    budget: float | None = None
    """Seconds. None trains the epochs of the recipe."""
    fixes: str = ""
    """A CSV of corrections, relative to the working folder."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name != "budget" and not isinstance(value, str):
                raise UserError(f"{spec.name}: wanted a text, got {value!r}")
        if not _NAME.fullmatch(self.run):
            raise UserError(
                "name: wanted letters, digits, dots, dashes and underscores, at most 80, got "
                f"{self.run!r}"
            )
        number = isinstance(self.budget, int | float) and not isinstance(self.budget, bool)
        if self.budget is not None and not (number and 1 <= self.budget <= 7 * 86400):
            raise UserError(f"budget: wanted seconds from 1 to 604800, got {self.budget!r}")


class Training:
    """One training that was asked for."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.workshop, self.folder = workshop, folder

    @property
    def number(self) -> str:
        """Its name in addresses, such as ``0003``. Smaller numbers are trained first."""
        return self.folder.name

    @property
    def wanted(self) -> Wanted:
        """What it is to do. Raises ``DataError`` if the file is damaged."""
        try:
            return Wanted(**self._read("wanted.json"))
        except (TypeError, UserError) as error:
            raise DataError(f"{self.folder}/wanted.json: damaged: {error}") from error

    @property
    def run(self) -> RunFolder:
        """Its run folder, which may not exist yet."""
        return RunFolder(self.workshop.runs / self.wanted.run)

    @property
    def state(self) -> str:
        """``waiting``, ``training``, ``finished``, ``stopped`` or ``failed``."""
        if any(is_held(self.folder / name) for name in (".lock", STARTED)):
            return TRAINING
        ended = self.ended
        if ended:
            return str(ended.get("state", FAILED))
        return STOPPED if (self.folder / "progress.json").is_file() else WAITING

    @property
    def message(self) -> str:
        """What there is to say about how it ended; may be empty."""
        if not self.ended and self.state == STOPPED:
            return "It was ended from outside, such as by a restart. What was saved is kept."
        return str(self.ended.get("message", ""))

    @property
    def ended(self) -> dict[str, Any]:
        """How it ended: ``state`` and ``message``; empty if it has not."""
        return self._read("ended.json")

    @property
    def progress(self) -> dict[str, Any]:
        """How far it is; empty before it begins."""
        return self._read("progress.json")

    @property
    def forming(self) -> dict[str, Any]:
        """The answers to some held-out images so far, and the first filters; may be empty."""
        return self._read("forming.json")

    @property
    def log(self) -> str:
        """The last 20,000 characters that its process printed."""
        try:
            text = (self.folder / "log.txt").read_bytes()[-20_000:]
        except OSError:
            return ""
        return text.decode("utf-8", "replace")

    @property
    def resumes(self) -> bool:
        """Whether its run has begun and is not finished."""
        return (self.run.path / "recipe.toml").is_file() and not self.run.finished

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody wants it to stop."""
        return (self.folder / "stop").exists()

    def stop(self) -> None:
        """Ask a training process to save its state and end; take a waiting one out of the queue.

        This and the next two raise ``DataError`` if the disk refuses."""
        with self._changed():
            write_whole(self.folder / "stop", "")
            if self.state == WAITING:
                self.end(STOPPED, "Removed from the queue before it started.")

    def resume(self) -> None:
        """Put a stopped or failed training into the queue again. Raises ``UserError`` for
        others."""
        if self.state not in (STOPPED, FAILED):
            raise UserError(f"training {self.number} is {self.state}, so it cannot be resumed")
        with self._changed():
            for name in ("stop", "ended.json", "progress.json"):
                (self.folder / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget this training. Its run folder stays. Raises ``UserError`` while it trains."""
        if self.state == TRAINING:
            raise UserError(f"training {self.number} is running. Stop it first")
        with self._changed(), suppress(FileNotFoundError):  # somebody else removes it, too
            shutil.rmtree(self.folder)

    @contextmanager
    def _changed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be changed: {error.strerror}") from error

    def end(self, state: str, message: str = "") -> None:
        """Note how it ended."""
        write_whole(self.folder / "ended.json", write_json({"state": state, "message": message}))

    def note(self, name: str, values: dict[str, Any]) -> None:
        """Replace a file that readers see whole. It is not synced: a power cut may lose it."""
        handle, part = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(write_json(values))
        Path(part).replace(self.folder / name)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            values = read_json((self.folder / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}


class Queue:
    """All trainings of a working folder, in order."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def all(self) -> list[Training]:
        """All trainings, the first one first."""
        try:
            names = sorted(at.name for at in self.workshop.trainings.iterdir())
        except OSError:
            return []
        found = [self.workshop.trainings / name for name in names if _NUMBER.fullmatch(name)]
        return [Training(self.workshop, at) for at in found if (at / "wanted.json").is_file()]

    def find(self, number: str) -> Training | None:
        """The training with this number, if there is one."""
        return next((one for one in self.all() if one.number == number), None)

    def next(self) -> Training | None:
        """The first one that waits."""
        return next((one for one in self.all() if one.state == WAITING), None)

    def add(self, wanted: Wanted) -> Training:
        """Put a training at the end of the queue.

        Raises ``UserError`` if its run folder exists already or another training has its name, and
        ``DataError`` if the disk refuses.
        """
        place = self.workshop.trainings
        try:
            make_folder(place)
            with alone(place / ".adding"):
                if (self.workshop.runs / wanted.run).exists() or any(
                    one.wanted.run == wanted.run for one in self.all()
                ):
                    raise UserError(f"there is a run {wanted.run!r} already. Choose another name")
                taken = [int(at.name) for at in place.iterdir() if _NUMBER.fullmatch(at.name)]
                folder = place / f"{max(taken, default=0) + 1:04}"
                folder.mkdir()
                write_whole(folder / "wanted.json", json.dumps(asdict(wanted)))
        except OSError as error:
            raise DataError(f"{place}: cannot be written: {error.strerror}") from error
        return Training(self.workshop, folder)
