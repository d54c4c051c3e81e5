"""The learning rate as a function of the step, in a run whose length may change on the way."""

from dataclasses import dataclass

from firstlight.recipe import TrainChoice


@dataclass(frozen=True)
class Course:
    """How a run's steps pass over its schedule: evenly, and from each turn on evenly anew."""

    turns: tuple[tuple[int, int], ...]
    """Pairs of a step and of the steps of the whole run as planned from there on; the first pair
    is of step 0."""

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.turns[-1][1]

    def turned(self, step: int, steps: int) -> "Course":
        """The same until ``step``; from there on the run has ``steps`` in all."""
        return Course((*(turn for turn in self.turns if turn[0] < step), (step, steps)))

    def done(self, step: int) -> float:
        """Share of the schedule that lies behind ``step``: 0 at the first, 1 at the last, where
        that is not the one step after a turn.

        A turn changes nothing before it, to the bit.
        """
        if not 0 <= step < self.steps:
            raise ValueError(f"step {step} is outside 0..{self.steps - 1}")
        done, here, steps = 0.0, 0, self.turns[0][1]
        for turn, then in self.turns[1:]:
            if step < turn:
                break
            done += (1 - done) * min(1.0, (turn - here) / max(1, steps - 1 - here))
            here, steps = turn, then
        return done + (1 - done) * ((step - here) / max(1, steps - 1 - here))

    def first(self, share: float) -> int:
        """How many steps make up the first ``share`` of the schedule."""
        count, steps = round(share * self.turns[0][1]), self.turns[0][1]
        for turn, then in self.turns[1:]:
            if count > turn:
                count = turn + round((count - turn) / (steps - turn) * (then - turn))
            steps = then
        return count


def course(choice: TrainChoice, steps_per_epoch: int) -> Course:
    """The course of a recipe's run, at least one step long unless it has no epoch at all."""
    starts = (0.0, *(turn for turn, _ in choice.replanned))
    epochs = (*(planned for _, planned in choice.replanned), choice.epochs)
    return Course(
        tuple(
            (round(start * steps_per_epoch), max(whole > 0, round(whole * steps_per_epoch)))
            for start, whole in zip(starts, epochs, strict=True)
        )
    )
