"""One training of the studio: ``python -m firstlight.studio.training FOLDER``.

Trains what the folder's ``wanted.json`` says, in the working folder, which is the current one.
Then evaluates the run on its test images. The folder tells how far it is.
"""

import _thread
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from firstlight.data.dataset import TrainTest
from firstlight.data.fixes import NO_FIXES, read_fixes
from firstlight.errors import RunInterruptedError, UserError
from firstlight.locks import held
from firstlight.progress import Log, Speed, TrainingRun
from firstlight.recipe import Recipe, parse_recipe
from firstlight.runs.folder import RunFolder, empty_or_a_dead_start
from firstlight.studio.forming import Forming
from firstlight.studio.trainings import FAILED, FINISHED, STOPPED, Training, Wanted
from firstlight.studio.workshop import Workshop
from firstlight.training.loop import Trainer
from firstlight.training.position import EpochRecord, StepRecord
from firstlight.verbs import contest
from firstlight.verbs.evaluate import evaluate
from firstlight.verbs.plan import Asked, Budget
from firstlight.verbs.run_data import DataRequest

EVERY = 0.4
"""Seconds between two notes of the progress."""
WATCHER = "stop watcher"
LOOK = 0.25
"""Seconds between two looks whether somebody wants to stop it."""


def main(training: Training) -> None:
    """Train, evaluate, and note how it ended."""
    with held(training.folder / ".lock") as free:
        if not free or training.ended:
            return
        try:
            with _stopped_by(training):
                said = _train(training)
        except (RunInterruptedError, KeyboardInterrupt):
            training.end(STOPPED)
        except UserError as error:
            training.end(FAILED, str(error))
        except Exception as error:
            traceback.print_exc()
            training.end(FAILED, f"Internal error: {error!r}. Its log has the details.")
        else:
            training.end(FINISHED, said)


def _train(training: Training) -> str:
    """Train and evaluate; return what the user should know of the result."""
    wanted, display = training.wanted, Shown(training)
    display.note(stage="preparing")
    if training.resumes:
        run = contest.resume(training.run.path, display)
    elif training.run.finished:
        run = training.run
    else:
        run = _new(wanted, display, training.run.path)
    display.note(stage="evaluating")
    metrics = evaluate(run)
    display.note(tested={"accuracy": metrics.accuracy, "images": metrics.count})
    return str(run.read_json("summary.json")["nothing_learnt"] or "")


def _new(wanted: Wanted, display: "Shown", out: Path) -> RunFolder:
    started = time.perf_counter()
    if out.is_dir() and not empty_or_a_dead_start(out):
        raise UserError(
            f"runs/{wanted.run} has files but no recipe.toml, so it cannot be resumed and is not "
            "overwritten. Remove that folder and try again, or train under another name"
        )
    fixes = read_fixes(Path(wanted.fixes)) if wanted.fixes else NO_FIXES
    request = DataRequest(name=wanted.data, fixes=fixes, download=False)
    recipe: Recipe | None = None
    if wanted.recipe:
        recipe = parse_recipe(wanted.recipe, source="the recipe")
    budget = None
    if wanted.budget is not None:
        budget = Budget(seconds=wanted.budget, started=started, name="the time limit")
    asked = Asked(
        recipe=recipe,
        start=Path(wanted.start) if wanted.start else None,
        budget=budget,
        told=display.tell,
    )
    return contest.train(request, asked, display, out)


class Shown(Log):
    """A display that also notes the progress in the training's folder."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training, self._values = training, dict[str, Any]()
        self._stepped, self._networks = 0.0, 0
        self._last: StepRecord | None = None
        self._forming: Forming | None = None

    def note(self, **values: Any) -> None:
        """Change values of the progress, and write it."""
        self._values |= values
        with suppress(OSError):  # a full disk; what the run needs is told by the run
            self._training.note("progress.json", self._values)

    def start(self, run: TrainingRun) -> None:
        super().start(run)
        self._speed, self._last = Speed(run), None
        self._networks += 1
        if isinstance(run, Trainer):
            with suppress(OSError):
                self._forming = Forming(self._training, run)
        self.note(stage="training", network=self._networks, **self._place(0, 0.0, 0.0))

    def step(self, record: StepRecord) -> None:
        self._last = record
        if time.monotonic() - self._stepped < EVERY:
            return
        self._read(record)
        if self._forming is not None:
            with suppress(OSError):
                self._forming.step(record)

    def epoch(self, record: EpochRecord) -> None:
        if self._last is not None:
            self._read(self._last)  # an epoch may take less than EVERY
        super().epoch(record)
        if self._forming is not None:
            with suppress(OSError):
                self._forming.epoch(record)

    def say(self, text: str) -> None:
        super().say(text)
        self.note(says=[*self._values.get("says", []), text][-20:])

    def tell(self, data: TrainTest) -> None:
        """Show what is to be known about the data."""
        for note in data.train.notes:
            self.say(note)

    def _read(self, record: StepRecord) -> None:
        done, speed, left = self._speed.read(record)
        self._stepped = time.monotonic()
        self.note(
            loss=record.loss,
            accuracy=record.accuracy,
            **self._place(record.epoch, done, left),
            images_per_second=speed,
        )

    def _place(self, epoch: int, done: float, left: float) -> dict[str, Any]:
        share = done / max(1e-9, self.run.work(self.run.total))
        return {
            "epoch": epoch,
            "epochs": self.run.epochs,
            "share": min(1.0, share),
            "seconds_left": left,
        }


@contextmanager
def _stopped_by(training: Training) -> Iterator[None]:
    """Inside this block, the file ``stop`` acts like Ctrl-C, on every system."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK):
            if training.stop_wanted:
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=look, name=WATCHER, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    main(Training(Workshop(Path.cwd()), folder))
