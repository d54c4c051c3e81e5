"""How fast this machine trains a recipe, and how many steps fit into a time limit."""

import math
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from firstlight.recipe import MOST_EPOCHS
from firstlight.training.loop import Trainer
from firstlight.training.position import EpochRecord, Place, StepRecord
from firstlight.training.schedule import Course

WARM_UP_STEPS = 4
# Steps are timed for this share of the available time, and at least this many of them.
MEASURED_SHARE = 0.02
MEASURED_STEPS = 5
# The pace is checked again when the remaining time or work has fallen to this share of what
# remained at the last check.
NEXT_LOOK = 0.5
# The run's length is changed if it would miss its time by this share of the total.
WORTH_A_CHANGE = 0.005


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many seconds the parts of a run take."""

    small: float
    """A step on smaller images."""
    whole: float
    """A step on full-size images."""
    validation: float
    last: float
    """The last validation, which may be more precise."""

    def times(self, factor: float) -> "Pace":
        """The same pace, slower by a factor."""
        return Pace(**{part: factor * seconds for part, seconds in asdict(self).items()})

    def between(self, start: Place, end: Place, small_steps: int) -> float:
        """Seconds from one place in a run to another one before its end."""
        small = min(end.step, small_steps) - min(start.step, small_steps)
        return (
            small * self.small
            + (end.step - start.step - small) * self.whole
            + (end.epoch - start.epoch) * self.validation
        )


def measure_pace(trainer: Trainer, seconds: float) -> Pace:
    """Train for a small share of ``seconds`` and measure. The trainer cannot be used afterwards."""
    trainer.read_every = 1  # a step is over when its loss has been read
    events, share = trainer.run(), trainer.recipe.train.small_share
    means, mean = [], 0.0
    for small, part in ((False, 1 - share), (True, share)):
        if part > 0:
            trainer.small_steps = trainer.steps if small else 0
            mean = _mean_step(trainer, events, MEASURED_SHARE * seconds * part) or mean
        means.append(mean)
    whole, small_one = means
    validation = _seconds_of_a_validation(trainer, trainer.low_precision)
    last = (
        _seconds_of_a_validation(trainer, low_precision=False)
        if trainer.low_precision
        else validation
    )
    found = Pace(small=small_one, whole=whole, validation=validation, last=last)
    return Pace(**trainer.decided(asdict(found)))


def _seconds_of_a_validation(trainer: Trainer, low_precision: bool) -> float:
    started = time.perf_counter()
    if trainer.validation is not None:
        trainer.predict(trainer.validation, low_precision)
    return time.perf_counter() - started


def _mean_step(
    trainer: Trainer, events: Iterator[StepRecord | EpochRecord], wanted: float
) -> float | None:
    """Mean seconds of a step, over steps that take at least ``wanted`` in all; None if the run has
    ended."""
    steps: list[float] = []

    def measured_enough() -> bool:
        enough = len(steps) >= WARM_UP_STEPS + MEASURED_STEPS
        return trainer.decided(enough and sum(steps[WARM_UP_STEPS:]) >= wanted)

    while not measured_enough():
        step = _seconds_of_a_step(events)
        if step is None:
            break
        steps.append(step)
    measured = steps[WARM_UP_STEPS:] or steps
    return sum(measured) / len(measured) if measured else None


def _seconds_of_a_step(events: Iterator[StepRecord | EpochRecord]) -> float | None:
    """Seconds of the next step, without a validation before it; None at the end of the run."""
    started = time.perf_counter()
    for event in events:
        if isinstance(event, StepRecord):
            return time.perf_counter() - started
        started = time.perf_counter()
    return None


@dataclass(frozen=True, kw_only=True)
class Rest:
    """The rest of a run whose length can still be chosen."""

    course: Course
    at: Place
    steps_per_epoch: int
    small_share: float

    def seconds(self, steps: int, pace: Pace) -> float:
        """Seconds to the end if the run had this many steps in all."""
        small_steps = self.course.turned(self.at.step, steps).first(self.small_share)
        end = Place(step=steps, epoch=math.ceil(steps / self.steps_per_epoch))
        return pace.between(self.at, end, small_steps) + pace.last - pace.validation

    def most_steps(self, seconds: float, pace: Pace) -> int:
        """The largest total of steps that fits into ``seconds``; the steps done if none fits."""
        lengths = range(self.at.step + 1, round(MOST_EPOCHS * self.steps_per_epoch) + 1)
        fitting = bisect_right(lengths, seconds, key=lambda steps: self.seconds(steps, pace))
        return self.at.step + fitting


def rest_of(trainer: Trainer) -> Rest:
    return Rest(
        course=trainer.course,
        at=trainer.place,
        steps_per_epoch=trainer.steps_per_epoch,
        small_share=trainer.recipe.train.small_share,
    )


class Deadline:
    """Keeps a run within its time limit on a machine whose speed may change.

    When half of the time or work is left, a quarter, and so on, the prediction is compared with the
    time taken. The run is made longer or shorter if it would miss its end.
    """

    def __init__(self, end: float, pace: Pace) -> None:
        """``end`` is when training must be over, as ``time.perf_counter`` counts. With several
        processes, the clock of the first one counts."""
        self._end, self._pace = end, pace
        self._at: Place | None = None
        self._since = self._all = self._due = 0.0

    def look(self, trainer: Trainer) -> bool:
        """Whether the run's length has changed. Call this after every step."""
        now = trainer.decided(time.perf_counter())
        at, rest = trainer.place, rest_of(trainer)
        left, ahead = self._end - now, rest.seconds(trainer.steps, self._pace)
        if self._at is None:
            self._at, self._since, self._all = at, now, left
            self._due = NEXT_LOOK * min(left, ahead)
            return False
        if min(left, ahead) > self._due or at.step >= trainer.steps:
            return False
        foretold = self._pace.between(self._at, at, trainer.small_steps)
        self._pace = self._pace.times((now - self._since) / foretold)
        ahead = rest.seconds(trainer.steps, self._pace)
        steps = max(at.step + 1, rest.most_steps(left, self._pace))
        replanned = abs(ahead - left) > WORTH_A_CHANGE * self._all and steps != trainer.steps
        if replanned:
            trainer.replan(steps)
            ahead = rest.seconds(steps, self._pace)
        self._at, self._since, self._due = at, now, NEXT_LOOK * min(left, ahead)
        return replanned
