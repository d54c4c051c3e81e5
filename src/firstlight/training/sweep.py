"""A learning-rate range test: how far up the rate may go before learning breaks.

After L. Smith: Cyclical learning rates for training neural networks, 2017, section 3.3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstlight.errors import UserError
from firstlight.training.loop import Trainer
from firstlight.training.position import StepRecord

LOWEST, HIGHEST = 1e-6, 10.0
# The running mean of the loss forgets with this decay a step.
SMOOTHING = 0.9
# A loss so many times the smallest one ends the sweep.
BROKEN = 3.0


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One number a step."""

    rates: tuple[float, ...]
    """The peak learning rate that the recipe would have."""
    losses: tuple[float, ...]
    """Mean loss of the step's batch."""
    smoothed: tuple[float, ...]
    """Running mean of the losses, corrected for its start."""

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest, per factor in the rate."""
        lowest = int(np.argmin(self.smoothed))
        slope = np.gradient(self.smoothed, np.log(self.rates))
        return self.rates[int(np.argmin(slope[: lowest + 1]))]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is smallest: the most that is any use."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float:
        """The geometric mean of both: well under way, and not yet at the brink."""
        return math.sqrt(self.steepest * self.lowest)


def sweep(
    trainer: Trainer, steps: int, progress: Callable[[int, int], None] | None = None
) -> Sweep:
    """Raise the rate by the same factor each step, from ``LOWEST`` to ``HIGHEST``, until the loss
    breaks. The trainer is used up by it. ``progress`` hears how many steps of how many are done.
    Raises ``UserError`` where nothing is learnt."""
    growth = (HIGHEST / LOWEST) ** (1 / (steps - 1))
    peak, trainer.read_every = trainer.recipe.optimizer.learning_rate, 1
    trainer.small_steps = 0  # a change of size would change the loss
    trainer.factor = lambda step: LOWEST * growth**step / peak
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    running, before = 0.0, 0.0
    try:
        for event in trainer.run():
            if not isinstance(event, StepRecord):
                before = 0.0  # the sums of a record begin anew with each epoch
                continue
            if progress is not None:
                progress(event.step, steps)
            total = event.loss * event.seen
            losses.append((total - before) / _batch(trainer, event))
            before = total
            running = SMOOTHING * running + (1 - SMOOTHING) * losses[-1]
            smoothed.append(running / (1 - SMOOTHING ** len(losses)))
            rates.append(LOWEST * growth ** (event.step - 1))
            if event.step == steps or smoothed[-1] > BROKEN * min(smoothed):
                break
    except UserError:
        pass  # the loss is no longer a finite number: the sweep has seen enough
    if len(losses) < 10 or not math.isfinite(min(smoothed)):
        raise UserError("the loss diverges at once, at any learning rate. Check the recipe")
    return Sweep(rates=tuple(rates), losses=tuple(losses), smoothed=tuple(smoothed))


def _batch(trainer: Trainer, event: StepRecord) -> int:
    """Images of the step that the event tells of."""
    size = trainer.recipe.train.batch_size
    return event.seen - (event.seen - 1) // size * size
