"""How fast this machine trains a recipe, and how many steps fit into a given time."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from firstlight.training.loop import Trainer
from firstlight.training.position import EpochRecord, StepRecord

WARM_UP_STEPS = 4
# Steps are timed for this share of the time there is, and at least for so many.
MEASURED_SHARE = 0.04
MEASURED_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that one step, a validation, and the last one, which may be more precise, take."""

    step: float
    validation: float
    last: float


def measure_pace(trainer: Trainer, seconds: float) -> Pace:
    """Train for a small share of ``seconds`` and see. The trainer is used up by it."""
    trainer.read_every = 1  # a step is over when its loss has been read
    events, share = trainer.run(), trainer.recipe.train.small_share
    step, mean = 0.0, 0.0
    for small, part in ((False, 1 - share), (True, share)):
        if part > 0:
            trainer.small_steps = trainer.steps if small else 0
            mean = _mean_step(events, MEASURED_SHARE * seconds * part) or mean
            step += part * mean
    validation = _seconds_of_a_validation(trainer, trainer.rough)
    last = _seconds_of_a_validation(trainer, rough=False) if trainer.rough else validation
    return Pace(step=step, validation=validation, last=last)


def _seconds_of_a_validation(trainer: Trainer, rough: bool) -> float:
    started = time.perf_counter()
    if trainer.validation is not None:
        trainer.watch(trainer.validation, rough)
    return time.perf_counter() - started


def _mean_step(events: Iterator[StepRecord | EpochRecord], wanted: float) -> float | None:
    """Seconds, over steps that take ``wanted`` in all or longer; None where the run is over."""
    steps: list[float] = []
    while len(steps) < WARM_UP_STEPS + MEASURED_STEPS or sum(steps[WARM_UP_STEPS:]) < wanted:
        step = _seconds_of_a_step(events)
        if step is None:
            break
        steps.append(step)
    measured = steps[WARM_UP_STEPS:] or steps
    return sum(measured) / len(measured) if measured else None


def _seconds_of_a_step(events: Iterator[StepRecord | EpochRecord]) -> float | None:
    """Of the next one, without a validation before it; None at the end of the run."""
    started = time.perf_counter()
    for event in events:
        if isinstance(event, StepRecord):
            return time.perf_counter() - started
        started = time.perf_counter()
    return None


def steps_within(seconds: float, pace: Pace, steps_per_epoch: int) -> int:
    """The most steps that fit, with a validation after each epoch and after a last part of one."""
    epoch = steps_per_epoch * pace.step + pace.validation
    seconds = max(0.0, seconds - (pace.last - pace.validation))
    whole = math.floor(min(seconds / epoch, 1e9))
    rest = math.floor((seconds - whole * epoch - pace.validation) / pace.step)
    return whole * steps_per_epoch + max(0, rest)
