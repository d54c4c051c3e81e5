"""A learning-rate range test: how large the rate can be before training diverges.

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
# Decay of the running mean of the loss for each step.
SMOOTHING = 0.9
# The sweep ends when the loss is this many times the smallest one.
BROKEN = 3.0
# Fewest steps of a sweep, and fewest batches in a mean that it is compared with: losses of single
# batches differ, most of all after a fitted last layer.
LEAST = 10


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The result of a range test; each list has one number for each step."""

    rates: tuple[float, ...]
    """The learning rate of each step, as the recipe's peak rate."""
    losses: tuple[float, ...]
    """Mean loss of each step's batch."""
    smoothed: tuple[float, ...]
    """Running mean of the losses, corrected for the bias at the start."""

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest on a logarithmic axis."""
        lowest = int(np.argmin(self.smoothed))
        slope = np.gradient(self.smoothed, np.log(self.rates))
        return self.rates[int(np.argmin(slope[: lowest + 1]))]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is smallest: the largest useful rate."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float:
        """The geometric mean of both: fast, but not close to diverging."""
        return math.sqrt(self.steepest * self.lowest)


def sweep(
    trainer: Trainer, steps: int, progress: Callable[[int, int], None] | None = None
) -> Sweep:
    """Multiply the rate by the same factor each step, from ``LOWEST`` to ``HIGHEST``, until the
    loss diverges.

    The trainer cannot be used afterwards. ``progress`` is called with the steps done so far and in
    all. Raises ``UserError`` if nothing is learned.
    """
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
                before = 0.0  # the sums of a record restart with each epoch
                continue
            if progress is not None:
                progress(event.step, steps)
            total = event.loss * event.seen
            losses.append((total - before) / _batch(trainer, event))
            before = total
            running = SMOOTHING * running + (1 - SMOOTHING) * losses[-1]
            smoothed.append(running / (1 - SMOOTHING ** len(losses)))
            rates.append(LOWEST * growth ** (event.step - 1))
            means = smoothed[LEAST - 1 :]
            if event.step == steps or (means and means[-1] > BROKEN * min(means)):
                break
    except UserError:
        pass  # the loss is no longer finite: the sweep is over
    if len(losses) < LEAST or not math.isfinite(min(smoothed)):
        raise UserError("the loss diverges at once, at any learning rate. Check the recipe")
    return Sweep(rates=tuple(rates), losses=tuple(losses), smoothed=tuple(smoothed))


def _batch(trainer: Trainer, event: StepRecord) -> int:
    """Number of images of the step that the event reports."""
    size = trainer.recipe.train.batch_size
    return event.seen - (event.seen - 1) // size * size
