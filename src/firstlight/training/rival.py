"""A run that is trained against another: where it is far behind, it ends sooner."""

import math
from dataclasses import dataclass

from firstlight.training.loop import Trainer

LOOKS = ((1 / 4, 3.0), (1 / 2, 2.0))
"""Pairs of a share of the run and of how many times the rival's mistakes are then too many. While
the learning rate is large a network makes more mistakes than it will in the end."""
ENDING = 0.1
"""The share of its steps that a run far behind has left. The learning rate falls to its end in
them, so what is compared are finished networks."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The other run, finished before this one."""

    wrong: int
    """How many of the held-out images it answers wrong."""

    def look(self, trainer: Trainer) -> bool:
        """Whether the run ends sooner from now on. To be called after every epoch.

        After a quarter and a half of its steps, the fewest mistakes of an epoch so far are compared
        with the rival's and one more.
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
