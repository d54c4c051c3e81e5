"""How many steps fit, against counting them one by one."""

import pytest

from firstlight.training.pace import Pace, steps_within


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.9, 10.0, 10.9, 31.7, 250.0])
@pytest.mark.parametrize("validation", [0.0, 0.7])
def test_as_many_steps_as_fit_and_not_one_more(seconds: float, validation: float) -> None:
    pace, per_epoch = Pace(step=0.1, validation=validation), 93

    def needed(steps: int) -> float:
        validations = -(-steps // per_epoch)
        return steps * 0.1 + validations * validation

    steps = steps_within(seconds, pace, per_epoch)

    assert needed(steps) <= seconds + 1e-6 or steps == 0
    assert needed(steps + 2) > seconds
