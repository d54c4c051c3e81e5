"""A run that is compared with another: if it is far behind, it ends early."""

import math
from dataclasses import dataclass

from firstlight.training.loop import Trainer

LOOKS = ((1 / 4, 3.0), (1 / 2, 2.0))
"""Pairs: a share of the run, and how many times the rival's mistakes are too many there. While the
learning rate is large, a network makes more mistakes than at the end."""
ENDING = 0.1
"""The share of its steps that a run far behind still trains for. The learning rate falls to its
final value in them, so finished networks are compared."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The other run, finished before this one."""

    wrong: int
    """Number of held-out images that it answers incorrectly."""

    def look(self, trainer: Trainer) -> bool:
        """Whether the run now ends early. Call this after every epoch.

        After a quarter and after half of its steps, the mistakes of its best epoch so far are
        compared with the rival's plus one.
        """
        wrong, steps = self.fewest_wrong(trainer), trainer.steps
        if wrong is None or len(trainer.records) < 2:
            return False
        before, now = (record.steps for record in trainer.records[-2:])
        passed = [times for share, times in LOOKS if before < share * steps <= now < steps]
        if not passed or wrong <= passed[-1] * (self.wrong + 1):
            return False
        ending = min(steps, now + math.ceil(ENDING * steps))
        if ending < steps:
            trainer.replan(ending)
        return ending < steps

    @staticmethod
    def fewest_wrong(trainer: Trainer) -> int | None:
        """Mistakes on the held-out images after the best epoch so far."""
        watched = 0 if trainer.validation is None else len(trainer.validation)
        rights = [record.validation_accuracy for record in trainer.records]
        known = [round((1 - right) * watched) for right in rights if right is not None]
        return min(known, default=None)
