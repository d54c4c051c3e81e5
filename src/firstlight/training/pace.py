"""How fast this machine trains a recipe, and how many steps fit into a given time."""

import math
import time
from dataclasses import dataclass

from firstlight.training.loop import StepRecord, Trainer

WARM_UP_STEPS = 3
# Steps are timed for this share of the time there is, and at least for so many.
MEASURED_SHARE = 0.04
MEASURED_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that one step and one validation take."""

    step: float
    validation: float


def measure_pace(trainer: Trainer, seconds: float) -> Pace:
    """Train for a small share of ``seconds`` and see. The trainer is used up by it."""
    events = (event for event in trainer.run() if isinstance(event, StepRecord))
    for _ in range(WARM_UP_STEPS):
        next(events, None)
    started, steps = time.perf_counter(), 0
    while steps < MEASURED_STEPS or time.perf_counter() - started < MEASURED_SHARE * seconds:
        if next(events, None) is None:
            break
        steps += 1
    step = (time.perf_counter() - started) / max(1, steps)
    started = time.perf_counter()
    if trainer.validation is not None:
        trainer.watch(trainer.validation)
    return Pace(step=step, validation=time.perf_counter() - started)


def steps_within(seconds: float, pace: Pace, steps_per_epoch: int) -> int:
    """The most steps that fit, with a validation after each epoch and after a last part of one."""
    epoch = steps_per_epoch * pace.step + pace.validation
    whole = math.floor(min(seconds / epoch, 1e9))
    rest = math.floor((seconds - whole * epoch - pace.validation) / pace.step)
    return whole * steps_per_epoch + max(0, rest)
