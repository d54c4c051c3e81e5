"""Two models on the same images: SciPy's exact test is the oracle."""

import numpy as np
import pytest
from scipy.stats import binomtest

from firstlight.evaluate.paired import paired


@pytest.mark.parametrize(
    ("only_first", "only_second"),
    [(0, 0), (1, 0), (0, 7), (3, 10), (10, 3), (50, 50), (480, 520), (3000, 3200), (20, 30000)],
)
def test_the_exact_mcnemar_test_is_scipy_s(only_first: int, only_second: int) -> None:
    first_N = np.repeat([True, False, True], [only_first, only_second, 5])
    second_N = np.repeat([False, True, True], [only_first, only_second, 5])
    apart = only_first + only_second
    wanted = binomtest(only_first, apart).pvalue if apart else 1.0

    found = paired(first_N, second_N)

    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.images == apart + 5
    assert found.p == pytest.approx(wanted, rel=1e-8)
