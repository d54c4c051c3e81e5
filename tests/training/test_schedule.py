"""The learning rate's path, point by point."""

import pytest

from firstlight.recipe import ScheduleChoice
from firstlight.training.schedule import learning_rate_factor


def test_one_cycle_starts_peaks_and_ends_where_it_should() -> None:
    choice = ScheduleChoice(
        name="one-cycle", warmup_fraction=0.25, start_fraction=0.2, final_fraction=0.1
    )
    factors = [learning_rate_factor(choice, s, 101) for s in range(101)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[25] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert factors[12] - factors[11] == pytest.approx(0.8 / 25)
    assert factors[60] - factors[61] == pytest.approx(0.9 / 75)


def test_a_run_of_one_step_has_a_learning_rate() -> None:
    for warmup in (0.0, 0.3, 1.0):
        choice = ScheduleChoice(name="one-cycle", warmup_fraction=warmup, start_fraction=0.5)
        assert 0 < learning_rate_factor(choice, 0, 1) <= 1


def test_constant_is_constant_and_a_step_outside_is_refused() -> None:
    assert {learning_rate_factor(ScheduleChoice(), s, 7) for s in range(7)} == {1.0}
    with pytest.raises(ValueError, match="outside"):
        learning_rate_factor(ScheduleChoice(), 7, 7)
