"""Displays of a training run: a live bar, one line per epoch, a notebook line, or nothing."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from firstlight.terminal import console

if TYPE_CHECKING:
    from firstlight.training.position import EpochRecord, StepRecord


class TrainingRun(Protocol):
    """What a display reads from a run, whose length may change during training."""

    @property
    def epochs(self) -> int: ...
    @property
    def images_per_epoch(self) -> int: ...

    @property
    def total(self) -> int:
        """Number of images in the whole run."""

    @property
    def seen(self) -> int:
        """Number of images trained on so far."""

    def work(self, seen: int) -> float:
        """Return the work of training on the first ``seen`` images, in any unit."""


class Display(Protocol):
    """What ``verbs.fit`` calls during training."""

    def __enter__(self) -> "Display": ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def start(self, run: TrainingRun) -> None: ...
    def step(self, record: "StepRecord") -> None: ...
    def epoch(self, record: "EpochRecord") -> None: ...
    def say(self, text: str) -> None:
        """Show a sentence between two trainings."""
        ...


def epoch_line(record: "EpochRecord", epochs: int) -> str:
    """Format a finished epoch as a log line that fits 80 columns."""
    text = (
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}  loss {record.train_loss:.4f}  "
        f"acc {100 * record.train_accuracy:.2f} %"
    )
    if record.validation_accuracy is not None:
        text += (
            f"  val loss {record.validation_loss:.4f}  "
            f"val acc {100 * record.validation_accuracy:.2f} %"
        )
    return f"{text}  {record.train_seconds:.1f} s"


class Silent:
    """Shows nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def start(self, run: TrainingRun) -> None:
        self.run = run

    def step(self, record: "StepRecord") -> None:
        return None

    def epoch(self, record: "EpochRecord") -> None:
        return None

    def say(self, text: str) -> None:
        return None


class Log(Silent):
    """One line per epoch, for files and pipes."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._stream = sys.stderr if to_stderr else sys.stdout

    def epoch(self, record: "EpochRecord") -> None:
        self.say(epoch_line(record, self.run.epochs))

    def say(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:
            # The reader of the pipe is gone, but training continues. This also avoids a second
            # error when Python flushes at exit.
            self._stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            sys.stdout = self._stream


class Speed:
    """Images per second and seconds left, measured since the display started."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.started, self.first = time.monotonic(), run.seen
        self.shown = 0.0

    def due(self, seen: int) -> bool:
        """Whether to draw: at most ten times a second, and at an epoch's end. Drawing costs more
        than a step."""
        now = time.monotonic()
        if now - self.shown < 0.1 and seen < self.run.images_per_epoch:
            return False
        self.shown = now
        return True

    def read(self, record: "StepRecord") -> tuple[float, float, float]:
        """Return the work done in the whole run, images per second, and seconds left."""
        run = self.run
        done = (record.epoch - 1) * run.images_per_epoch + record.seen
        passed = max(1e-9, time.monotonic() - self.started)
        worked, total = run.work(done), run.work(run.total)
        pace = (worked - run.work(self.first)) / passed
        return worked, (done - self.first) / passed, (total - worked) / max(1e-9, pace)


class Live(Silent):
    """A progress bar in a terminal, with a line above it for each finished epoch."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("epoch {task.fields[place]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            console=console(stderr=True),
            expand=True,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> "Live":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def start(self, run: TrainingRun) -> None:
        super().start(run)
        self._speed = Speed(run)
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(
            "",
            total=round(run.work(run.total)),
            completed=round(run.work(run.seen)),
            place=f"-/{run.epochs}",
            numbers="",
        )

    def step(self, record: "StepRecord") -> None:
        if not self._speed.due(record.seen):
            return
        done, speed, left = self._speed.read(record)
        self._progress.update(
            self._task,
            total=round(self.run.work(self.run.total)),
            completed=done,
            place=f"{record.epoch}/{self.run.epochs}",
            numbers=f"loss {record.loss:.3f}  accuracy {100 * record.accuracy:.1f} %  "
            f"{speed:,.0f} images/s  {round(left) // 60}:{round(left) % 60:02} left",
        )

    def epoch(self, record: "EpochRecord") -> None:
        self.say(epoch_line(record, self.run.epochs))

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False)


class Notebook(Silent):
    """A line in the notebook's cell that is overwritten until its epoch ends."""

    def __init__(self) -> None:
        self._handle: Any = None

    def start(self, run: TrainingRun) -> None:
        from IPython.display import display

        super().start(run)
        self._speed = Speed(run)
        self._lines: list[str] = []
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def _show(self, last: str) -> None:
        self._handle.update({"text/plain": "\n".join([*self._lines, last])}, raw=True)

    def step(self, record: "StepRecord") -> None:
        if self._speed.due(record.seen):
            _, speed, left = self._speed.read(record)
            self._show(
                f"epoch {record.epoch}/{self.run.epochs}  loss {record.loss:.3f}  "
                f"accuracy {100 * record.accuracy:.1f} %  {speed:,.0f} images/s  {left:.0f} s left"
            )

    def epoch(self, record: "EpochRecord") -> None:
        self.say(epoch_line(record, self.run.epochs))

    def say(self, text: str) -> None:
        if self._handle is None:  # training has not started
            sys.stdout.write(f"{text}\n")
            return
        self._lines.append(text)
        self._show("")


def choose_display(*, quiet: bool = False, json: bool = False) -> Display:
    """Choose the display that suits the output."""
    if quiet:
        return Silent()
    if in_notebook():
        return Notebook()
    if sys.stderr.isatty() and sys.stdout.isatty():
        return Live()
    return Log(to_stderr=json)


class WithoutEpochs(Silent):
    """Wraps another display without its epoch lines: for many trainings, one line each."""

    def __init__(self, shown: Display) -> None:
        self._shown = shown

    def __enter__(self) -> "WithoutEpochs":
        self._shown.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def start(self, run: TrainingRun) -> None:
        self._shown.start(run)

    def step(self, record: "StepRecord") -> None:
        self._shown.step(record)

    def say(self, text: str) -> None:
        self._shown.say(text)


def in_notebook() -> bool:
    """Whether this process is a notebook kernel; imports nothing to find out."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


class _Bar:
    """A bar that appears when there is something to show, and disappears at the end of the
    block."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class DownloadBar(_Bar):
    """A bar for each download; without a terminal, a line when it begins.

    It appears with the first byte, so it can be created before it is known whether anything will be
    downloaded. It disappears at the end of its block.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__()
        self._quiet = quiet
        self._tasks: dict[str, Any] = {}

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Called as a file grows, with its name, the bytes so far, and the total."""
        if self._quiet:
            return
        if not sys.stderr.isatty():
            if name not in self._tasks:
                self._tasks[name] = None
                size = f", {total / 1e6:,.0f} MB" if total else ""
                sys.stderr.write(f"fetching {name}{size}\n")
                sys.stderr.flush()
            return
        if self._bar is None:
            self._bar = _download_progress()
            self._bar.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total)
        self._bar.update(self._tasks[name], completed=done)


def _download_progress() -> Any:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TransferSpeedColumn(), console=console(stderr=True))


class CountingBar(_Bar):
    """A bar that counts pictures or other items; without a terminal, a line when it begins. Shows
    nothing if there are no items."""

    def __init__(self, what: str, things: str = "pictures", *, quiet: bool = False) -> None:
        super().__init__()
        self._what, self._things, self._quiet = what, things, quiet
        self._told = False

    def __call__(self, done: int, total: int) -> None:
        """Called with the number done and the total."""
        if self._quiet:
            return
        if not sys.stderr.isatty():
            if not self._told:
                things = self._things.removesuffix("s") if total == 1 else self._things
                sys.stderr.write(f"{self._what} {total:,} {things}\n")
            self._told = True
            return
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (
                TextColumn(f"{self._what} {self._things}"),
                BarColumn(),
                MofNCompleteColumn(),
            )
            self._bar = Progress(*columns, console=console(stderr=True), transient=True)
            self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(0, completed=done)
        if done >= total:  # another bar may follow
            self._bar.stop()
            self._bar = None


Bars = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Begins a bar for what is done, such as ``decoding``. It is called with the number of pictures
done and the total."""


class PaceBar(_Bar):
    """A bar for long work on many images, with images per second and the time left; without a
    terminal, a line for each tenth."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        super().__init__()
        self._what, self._quiet = what, quiet
        self._began: tuple[float, int] | None = None
        self._tenth = 0

    def __call__(self, done: int, total: int) -> None:
        """Called with the number of images done and the total. Images done before the first call
        took no time of this bar."""
        if self._quiet:
            return
        if self._began is None:
            self._began, self._tenth = (time.monotonic(), done), 10 * done // max(1, total)
        began, first = self._began
        pace = (done - first) / max(1e-9, time.monotonic() - began)
        text = f"{done:,} of {total:,} images"
        if done > first:
            left = round((total - done) / max(1e-9, pace))
            text += f"  {pace:,.0f} images/s  {_clock(left)} left"
        if sys.stderr.isatty():
            self._draw(text, done, total)
        elif 10 * done // max(1, total) > self._tenth:
            self._tenth = 10 * done // total
            self.say(f"{self._what} {text}")

    def say(self, text: str) -> None:
        """Show a line of its own, even if quiet."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
            return
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _draw(self, text: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn(self._what), BarColumn(None), TextColumn("{task.fields[text]}"))
            screen = console(stderr=True)
            self._bar = Progress(*columns, console=screen, transient=True, expand=True)
            self._bar.add_task("", total=total, text=text)
            self._bar.start()
        self._bar.update(0, completed=done, text=text)


def _clock(seconds: int) -> str:
    """Format seconds as ``4:05`` or ``1:04:05``."""
    hours, rest = divmod(seconds, 3600)
    return (f"{hours}:{rest // 60:02}" if hours else f"{rest // 60}") + f":{rest % 60:02}"


class DecodingBar(CountingBar):
    """A bar while pictures are decoded."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__("decoding", quiet=quiet)
