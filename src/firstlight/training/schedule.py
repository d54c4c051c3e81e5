"""The position in the schedule at each step, in a run whose length may change."""

from dataclasses import dataclass

from firstlight.recipe import TrainChoice


@dataclass(frozen=True)
class Course:
    """How a run's steps are spread over its schedule: evenly between changes of its length."""

    turns: tuple[tuple[int, int], ...]
    """Pairs of a step and the total number of steps planned from there on; the first pair is for
    step 0."""

    @property
    def steps(self) -> int:
        """Total steps of the run."""
        return self.turns[-1][1]

    def turned(self, step: int, steps: int) -> "Course":
        """The same until ``step``; from there on the run has ``steps`` in total."""
        return Course((*(turn for turn in self.turns if turn[0] < step), (step, steps)))

    def done(self, step: int) -> float:
        """Share of the schedule done at ``step``: 0 at the first step and 1 at the last, unless
        that is the only step after a change of length.

        A change of length changes nothing before it, to the bit.
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
        """The number of steps in the first ``share`` of the schedule."""
        count, steps = round(share * self.turns[0][1]), self.turns[0][1]
        for turn, then in self.turns[1:]:
            if count > turn:
                count = turn + round((count - turn) / (steps - turn) * (then - turn))
            steps = then
        return count


def course(choice: TrainChoice, steps_per_epoch: int) -> Course:
    """The course of a recipe's run: at least one step, unless it has no epochs."""
    starts = (0.0, *(turn for turn, _ in choice.replanned))
    epochs = (*(planned for _, planned in choice.replanned), choice.epochs)
    return Course(
        tuple(
            (round(start * steps_per_epoch), max(whole > 0, round(whole * steps_per_epoch)))
            for start, whole in zip(starts, epochs, strict=True)
        )
    )
