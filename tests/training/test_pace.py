"""How many steps fit, compared with counting them one by one, with a simulated clock."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from tests.kit import whitened_net

from firstlight.recipe import Recipe
from firstlight.training.pace import Deadline, Pace, Rest, measure_pace
from firstlight.training.position import EpochRecord, Place, StepRecord
from firstlight.training.schedule import Course


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.9, 10.0, 10.9, 31.7, 250.0])
@pytest.mark.parametrize(("validation", "last"), [(0.0, 0.0), (0.7, 0.7), (0.7, 2.5)])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_as_many_steps_as_fit_and_not_one_more(
    seconds: float, validation: float, last: float, share: float
) -> None:
    pace, per_epoch = Pace(small=0.05, whole=0.1, validation=validation, last=last), 93
    rest = Rest(
        course=Course(((0, 50),)),
        at=Place(step=0, epoch=0),
        steps_per_epoch=per_epoch,
        small_share=share,
    )

    def needed(steps: int) -> float:
        each = [0.05 if step < round(share * steps) else 0.1 for step in range(steps)]
        validations = -(-steps // per_epoch)
        return sum(each) + (validations - 1) * validation + last

    steps = rest.most_steps(seconds, pace)

    assert needed(steps) <= seconds + 1e-6 or steps == 0
    assert needed(steps + 2) > seconds


@pytest.mark.parametrize("in_low_precision", [False, True])
@pytest.mark.parametrize(
    ("epochs", "step", "taken"), [(0.5, 8.0, 2), (1, 8.0, 4), (3, 0.125, 12), (100, 0.125, 4 + 16)]
)
def test_steps_are_timed_without_the_validations_between_them(
    epochs: float, step: float, taken: int, in_low_precision: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps per epoch, of 1/8 s except the first four, and a validation of 4 s, or 16 s if it
    is precise and training is not; a fiftieth of 100 s is measured."""
    now, done = 0.0, 0

    def run() -> Iterator[StepRecord | EpochRecord]:
        nonlocal now, done
        for step in range(round(4 * epochs)):
            now += 8.0 if step < 4 else 0.125
            done += 1
            yield StepRecord(epoch=step // 4 + 1, step=step + 1, seen=1, loss=1.0, accuracy=0.5)
            if step % 4 == 3:
                predict(None, True)
                yield _EPOCH

    def predict(_: object, low_precision: bool) -> None:
        nonlocal now
        now += 4.0 if low_precision or not in_low_precision else 16.0

    monkeypatch.setattr("firstlight.training.pace.time.perf_counter", lambda: now)
    recipe = Recipe(name="test")
    trainer = SimpleNamespace(
        run=run,
        predict=predict,
        recipe=recipe,
        validation="held out",
        low_precision=in_low_precision,
        steps=4 * epochs,
        decided=lambda value: value,
    )

    measured = measure_pace(trainer, 100.0)  # type: ignore[arg-type]

    last = 16.0 if in_low_precision else 4.0
    assert measured == Pace(small=step, whole=step, validation=4.0, last=last)
    assert done == taken


@pytest.mark.parametrize(("steps", "small"), [(100, 2.0), (6, 8.0)])
def test_where_the_first_steps_see_smaller_images_both_kinds_are_timed(
    steps: int, small: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole step takes 8 s, a small one 2 s, and three quarters are small. In a run of six steps,
    only whole ones are timed: then too few steps fit, but never too many."""
    now = 0.0

    def run() -> Iterator[StepRecord]:
        nonlocal now
        for number in range(steps):
            now += 2.0 if number < trainer.small_steps else 8.0
            yield StepRecord(epoch=1, step=number + 1, seen=1, loss=1.0, accuracy=0.5)

    monkeypatch.setattr("firstlight.training.pace.time.perf_counter", lambda: now)
    recipe = Recipe(name="test").with_settings([*whitened_net(8), "train.small_share=0.75"])
    trainer = SimpleNamespace(
        run=run,
        recipe=recipe,
        validation=None,
        low_precision=False,
        steps=steps,
        small_steps=0,
        decided=lambda value: value,
    )

    measured = measure_pace(trainer, 100.0)  # type: ignore[arg-type]

    assert measured == Pace(small=small, whole=8.0, validation=0.0, last=0.0)


class Run:
    """Four steps per epoch, half of all on smaller images; a validation takes 2 s, and everything
    takes ``slower(now)`` times the predicted time."""

    def __init__(self, steps: int, slower: dict[float, float]) -> None:
        self.course, self.slower, self.now = Course(((0, steps),)), slower, 0.0
        self.steps_per_epoch, self.place = 4, Place(step=0, epoch=0)
        self.recipe = Recipe(name="test").with_settings([*whitened_net(8), "train.small_share=0.5"])

    @property
    def steps(self) -> int:
        return self.course.steps

    @property
    def small_steps(self) -> int:
        return self.course.first(0.5)

    def replan(self, steps: int) -> None:
        self.course = self.course.turned(self.place.step, steps)

    def take(self, seconds: float) -> None:
        self.now += seconds * [by for since, by in self.slower.items() if self.now >= since][-1]

    def decided(self, value: float) -> float:
        return value

    def run_until(self, deadline: Deadline) -> float:
        while self.place.step < self.steps:
            step = self.place.step + 1
            self.take(0.5 if step <= self.small_steps else 1.0)
            self.place = self.place._replace(step=step)
            deadline.look(self)  # type: ignore[arg-type]
            if step % 4 == 0 or step == self.steps:
                self.take(2.0)
                self.place = self.place._replace(epoch=self.place.epoch + 1)
        return self.now


@pytest.mark.parametrize(
    "slower",
    [
        *({0: 1.0}, {0: 1.3}, {0: 0.6}, {0: 0.49}, {0: 0.2}, {0: 0.02}, {0: 7.0}),
        *({0: 1.0, 500: 1.5}, {0: 1.0, 200: 0.7, 800: 1.4, 900: 1.0}),
        *({0: 1.0, 100: 0.3}, {0: 1.0, 300: 0.2}),
    ],
)
def test_a_run_ends_in_its_time_on_a_machine_that_changes_its_pace(
    slower: dict[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand seconds; as planned, an epoch averages 3 s of steps and 2 s of validation."""
    run = Run(800, slower)
    monkeypatch.setattr("firstlight.training.pace.time.perf_counter", lambda: run.now)
    deadline = Deadline(1000.0, Pace(small=0.5, whole=1.0, validation=2.0, last=2.0))

    assert run.run_until(deadline) == pytest.approx(1000.0, rel=0.01)

    turns = len(run.course.turns) - 1
    assert turns <= 8
    if len(slower) == 1:  # the first check sees the actual speed
        assert turns == (slower != {0: 1.0})
    assert run.small_steps < run.steps  # the end uses whole images in any case


@pytest.mark.parametrize("since", [600, 0])
def test_a_run_out_of_time_ends_with_the_next_step(
    since: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(800, {0: 1.0, since: 100.0} if since else {0: 3000.0, 1: 100.0})
    monkeypatch.setattr("firstlight.training.pace.time.perf_counter", lambda: run.now)
    deadline = Deadline(1000.0, Pace(small=0.5, whole=1.0, validation=2.0, last=2.0))

    end = run.run_until(deadline)

    begun = 1000.0 if since else 1500.0  # the first step alone takes longer
    assert end <= begun + 100 * (2 * 1.0 + 2 * 2.0)  # a step and a validation in progress, and one


_EPOCH = EpochRecord(
    epoch=1,
    steps=4,
    learning_rate=0.1,
    train_loss=1.0,
    train_accuracy=0.5,
    validation_loss=1.0,
    validation_accuracy=0.5,
    train_seconds=1.0,
)
