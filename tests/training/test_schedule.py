"""The learning rate's path, point by point."""

import pytest

from firstlight.recipe import TrainChoice
from firstlight.schedules import Constant, OneCycle
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


def test_a_run_of_one_step_has_a_learning_rate() -> None:
    for warmup in (0.0, 0.3, 1.0):
        choice = OneCycle(warmup_fraction=warmup)
        assert 0 < choice.factor(even(1).done(0)) <= 1


def test_constant_is_constant_and_a_step_outside_is_refused() -> None:
    assert {Constant().factor(even(7).done(s)) for s in range(7)} == {1.0}
    with pytest.raises(ValueError, match="outside"):
        even(7).done(7)


def test_a_turn_leaves_the_past_to_the_bit_and_spreads_the_rest_evenly() -> None:
    """Of 101 steps 41 are done, 40 % of the schedule is behind; 20 steps more take it to its end,
    and of those, half of what is left of the first half of the schedule is on smaller images."""
    before = even(101)
    after = before.turned(40, 61)

    assert [after.done(s) for s in range(41)] == [before.done(s) for s in range(41)]
    assert [after.done(s) for s in (40, 45, 60)] == pytest.approx([0.4, 0.55, 1.0])
    assert after.done(60) == 1.0
    assert after.steps == 61
    assert before.first(0.5) == 50
    assert after.first(0.5) == 40 + round(10 / 61 * 21)  # of 61 steps ahead, ten would be small
    assert after.first(0.3) == before.first(0.3) == 30  # was over when the run turned
    twice = after.turned(50, 91)
    assert [twice.done(s) for s in range(51)] == [after.done(s) for s in range(51)]
    assert [twice.done(s) for s in (50, 70, 90)] == pytest.approx([0.7, 0.85, 1.0])


def test_a_turn_near_the_end_of_a_plan_goes_no_further_than_the_schedule() -> None:
    """As where a recipe with a late turn is used with few steps an epoch."""
    choice = TrainChoice(epochs=5, replanned=((1.6, 2.0),))
    path = course(choice, 1)
    assert path == Course(((0, 2), (2, 5)))
    assert [path.done(step) for step in range(5)] == [0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_course_is_read_from_the_recipe_of_any_length_of_an_epoch() -> None:
    choice = TrainChoice(epochs=1.5, replanned=((0.5, 2.0), (1.25, 1.75)))
    assert course(choice, 100) == Course(((0, 200), (50, 175), (125, 150)))
    assert course(choice, 8) == Course(((0, 16), (4, 14), (10, 12)))
    for per_epoch in range(1, 20):  # turns may fall together
        path = course(choice, per_epoch)
        done = [path.done(step) for step in range(path.steps)]
        assert done == sorted(done) and done[0] >= 0 and done[-1] <= 1
        assert 0 <= path.first(0.7) <= path.steps
