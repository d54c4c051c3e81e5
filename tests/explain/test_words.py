"""The captions of the pictures."""

import numpy as np
import pytest

from firstlight.explain.attribution import Integrated
from firstlight.explain.words import of_integrated
from firstlight.pixels import Preprocess

GREY = Preprocess(height=2, width=3, channels=1, mean=(0.1,), std=(0.5,), light_on_dark=True)


@pytest.mark.parametrize(
    ("gap", "told"),
    [(0, "0.01"), (3e-7, "0.01"), (0.00053, "0.053"), (0.012, "1.2"), (1, "100"), (15, "1,500")],
)
def test_how_near_integrated_gradients_came_is_said_in_plain_percent(gap: float, told: str) -> None:
    result = Integrated(values_HW=np.ones((2, 3), np.float32), difference=1, gap=gap, steps=64)

    shows = of_integrated(result, "seven", GREY).shows

    # No line may break between number and sign.
    assert shows.endswith(f"to within {told}\N{NO-BREAK SPACE}%.")
