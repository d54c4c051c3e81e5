"""How many steps fit, against counting them one by one."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from firstlight.recipe import Recipe
from firstlight.training.pace import Pace, measure_pace, steps_within
from firstlight.training.position import EpochRecord, StepRecord


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.9, 10.0, 10.9, 31.7, 250.0])
@pytest.mark.parametrize(("validation", "last"), [(0.0, 0.0), (0.7, 0.7), (0.7, 2.5)])
def test_as_many_steps_as_fit_and_not_one_more(
    seconds: float, validation: float, last: float
) -> None:
    measured, per_epoch = Pace(step=0.1, validation=validation, last=last), 93

    def needed(steps: int) -> float:
        validations = -(-steps // per_epoch)
        return steps * 0.1 + (validations - 1) * validation + last

    steps = steps_within(seconds, measured, per_epoch)

    assert needed(steps) <= seconds + 1e-6 or steps == 0
    assert needed(steps + 2) > seconds


@pytest.mark.parametrize("roughly", [False, True])
@pytest.mark.parametrize(
    ("epochs", "step", "taken"), [(0.5, 8.0, 2), (1, 8.0, 4), (3, 0.125, 12), (100, 0.125, 4 + 32)]
)
def test_steps_are_timed_without_the_validations_between_them(
    epochs: float, step: float, taken: int, roughly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps an epoch, of 1/8 s but for the first four, and a validation of 4 s, of 16 where it
    is precise and training is not; a twenty-fifth of 100 s is measured."""
    now, done = 0.0, 0

    def run() -> Iterator[StepRecord | EpochRecord]:
        nonlocal now, done
        for step in range(round(4 * epochs)):
            now += 8.0 if step < 4 else 0.125
            done += 1
            yield StepRecord(epoch=step // 4 + 1, step=step + 1, seen=1, loss=1.0, accuracy=0.5)
            if step % 4 == 3:
                watch(None, True)
                yield _EPOCH

    def watch(_: object, rough: bool) -> None:
        nonlocal now
        now += 4.0 if rough or not roughly else 16.0

    monkeypatch.setattr("firstlight.training.pace.time.perf_counter", lambda: now)
    recipe = Recipe(name="test")
    trainer = SimpleNamespace(
        run=run, watch=watch, recipe=recipe, validation="held out", rough=roughly, steps=4 * epochs
    )

    measured = measure_pace(trainer, 100.0)  # type: ignore[arg-type]

    last = 16.0 if roughly else 4.0
    assert (measured, done) == (Pace(step=step, validation=4.0, last=last), taken)


@pytest.mark.parametrize(("steps", "step"), [(100, 3.5), (6, 8.0)])
def test_where_the_first_steps_see_smaller_images_both_kinds_are_timed(
    steps: int, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 s a whole step, 2 s a small one, three quarters of them small. In a run of six steps, whole
    ones alone are timed: too few steps fit then, and never too many."""
    now = 0.0

    def run() -> Iterator[StepRecord]:
        nonlocal now
        for number in range(steps):
            now += 2.0 if number < trainer.small_steps else 8.0
            yield StepRecord(epoch=1, step=number + 1, seen=1, loss=1.0, accuracy=0.5)

    monkeypatch.setattr("firstlight.training.pace.time.perf_counter", lambda: now)
    recipe = Recipe(name="test").with_settings(["model.name=whitened", "train.small_share=0.75"])
    trainer = SimpleNamespace(
        run=run, recipe=recipe, validation=None, rough=False, steps=steps, small_steps=0
    )

    measured = measure_pace(trainer, 100.0)  # type: ignore[arg-type]

    assert measured == Pace(step=step, validation=0.0, last=0.0)


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
