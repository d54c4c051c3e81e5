"""The learning rate, point by point."""

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from firstlight.errors import UserError
from firstlight.recipe import TrainChoice
from firstlight.schedules import SCHEDULES, Constant, Cosine, OneCycle, Schedule, Steps
from firstlight.training.schedule import Course, course


def even(steps: int) -> Course:
    return Course(((0, steps),))


def test_one_cycle_starts_peaks_and_ends_where_it_should() -> None:
    choice = OneCycle(warmup_fraction=0.25, start_fraction=0.2, final_fraction=0.1)
    factors = [choice.factor(even(101).done(s)) for s in range(101)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[25] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert factors[12] - factors[11] == pytest.approx(0.8 / 25)
    assert factors[60] - factors[61] == pytest.approx(0.9 / 75)


def rates(scheduler: Any, steps: int) -> list[float]:
    """Return the learning rates of a PyTorch scheduler with a peak of 1, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    moved, found = scheduler(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        moved.step()
    return found


def ours(choice: Schedule, steps: int) -> list[float]:
    return [choice.factor(even(steps).done(step)) for step in range(steps)]


@pytest.mark.parametrize("steps", [2, 7, 101])
@pytest.mark.parametrize("last", [0.0, 0.3])
def test_cosine_is_pytorchs(steps: int, last: float) -> None:
    expected = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, steps - 1, last), steps)
    choice = Cosine(warmup_fraction=0.0, final_fraction=last)
    assert ours(choice, steps) == pytest.approx(expected, abs=1e-12)


def test_cosine_after_a_linear_warm_up_is_pytorchs() -> None:
    def both(optimizer: torch.optim.Optimizer) -> Any:
        first = lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=20)
        then = lr_scheduler.CosineAnnealingLR(optimizer, 80, 0.1)
        return lr_scheduler.SequentialLR(optimizer, [first, then], milestones=[20])

    choice = Cosine(warmup_fraction=0.2, start_fraction=0.2, final_fraction=0.1)
    assert ours(choice, 101) == pytest.approx(rates(both, 101), abs=1e-12)


@pytest.mark.parametrize(("at", "each"), [((0.5, 0.75), 0.1), ((0.07, 0.3, 0.9), 0.2), ((1.0,), 1)])
def test_steps_are_pytorchs(at: tuple[float, ...], each: float) -> None:
    milestones = [round(100 * share) for share in at]
    expected = rates(lambda o: lr_scheduler.MultiStepLR(o, milestones, each), 101)
    assert ours(Steps(at=at, factor_each=each), 101) == pytest.approx(expected, rel=1e-12)


def test_one_cycle_is_pytorchs_with_linear_sides() -> None:
    def both(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=101,
            pct_start=26 / 101,  # PyTorch's peak is at step pct_start · total - 1
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=10,
            final_div_factor=10,
        )

    choice = OneCycle(warmup_fraction=0.25, start_fraction=0.1, final_fraction=0.01)
    assert ours(choice, 101) == pytest.approx(rates(both, 101), abs=1e-12)


@pytest.mark.parametrize("kind", SCHEDULES.values(), ids=SCHEDULES)
def test_a_run_of_any_length_learns_with_the_defaults(kind: type[Schedule]) -> None:
    for steps in (1, 2, 3, 40):
        assert max(ours(kind(), steps)) > 0
        assert ours(kind(), steps)[0] > 0


def test_a_run_of_one_step_has_a_learning_rate() -> None:
    for warmup in (0.0, 0.3, 1.0):
        choice = OneCycle(warmup_fraction=warmup)
        assert 0 < choice.factor(even(1).done(0)) <= 1


def test_constant_is_constant_and_a_step_outside_is_refused() -> None:
    assert {Constant().factor(even(7).done(s)) for s in range(7)} == {1.0}
    with pytest.raises(ValueError, match="outside"):
        even(7).done(7)


def test_a_turn_leaves_the_past_to_the_bit_and_spreads_the_rest_evenly() -> None:
    """41 of 101 steps are done, which is 40 % of the schedule; 20 more steps complete it. Of those,
    half of the rest of the schedule's first half uses smaller images."""
    before = even(101)
    after = before.turned(40, 61)

    assert [after.done(s) for s in range(41)] == [before.done(s) for s in range(41)]
    assert [after.done(s) for s in (40, 45, 60)] == pytest.approx([0.4, 0.55, 1.0])
    assert after.done(60) == 1.0
    assert after.steps == 61
    assert before.first(0.5) == 50
    assert after.first(0.5) == 40 + round(10 / 61 * 21)  # of 61 steps ahead, ten would be small
    assert after.first(0.3) == before.first(0.3) == 30  # was over when the plan changed
    twice = after.turned(50, 91)
    assert [twice.done(s) for s in range(51)] == [after.done(s) for s in range(51)]
    assert [twice.done(s) for s in (50, 70, 90)] == pytest.approx([0.7, 0.85, 1.0])


def test_a_turn_near_the_end_of_a_plan_goes_no_further_than_the_schedule() -> None:
    """For example, a recipe with a late change is used with few steps per epoch."""
    choice = TrainChoice(epochs=5, replanned=((1.6, 2.0),))
    path = course(choice, 1)
    assert path == Course(((0, 2), (2, 5)))
    assert [path.done(step) for step in range(5)] == [0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_course_is_read_from_the_recipe_of_any_length_of_an_epoch() -> None:
    choice = TrainChoice(epochs=1.5, replanned=((0.5, 2.0), (1.25, 1.75)))
    assert course(choice, 100) == Course(((0, 200), (50, 175), (125, 150)))
    assert course(choice, 8) == Course(((0, 16), (4, 14), (10, 12)))
    for per_epoch in range(1, 20):  # changes may coincide
        path = course(choice, per_epoch)
        done = [path.done(step) for step in range(path.steps)]
        assert done == sorted(done) and done[0] >= 0 and done[-1] <= 1
        assert 0 <= path.first(0.7) <= path.steps


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (OneCycle, {"warmup_fraction": 1.1}),
        (OneCycle, {"start_fraction": -0.1}),
        (Cosine, {"start_fraction": 1.1}),
        (Cosine, {"final_fraction": 1.1}),
        (Cosine, {"final_fraction": -0.1}),
        (Steps, {"at": (0.5, 1.1)}),
        (Steps, {"at": (0.0, 0.5)}),
        (Steps, {"factor_each": 0.0}),
        (Steps, {"factor_each": 1.1}),
    ],
)
def test_a_share_outside_0_to_1_is_refused(kind: type[Schedule], settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize("kind", [OneCycle, Cosine])
def test_a_run_ends_with_a_rate_of_zero_by_default(kind: type[Schedule]) -> None:
    assert kind().factor(1.0) == pytest.approx(0, abs=1e-12)
