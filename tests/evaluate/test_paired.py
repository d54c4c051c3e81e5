"""Two models on the same images: SciPy's exact test is the oracle."""

import numpy as np
import pytest
from scipy.stats import binomtest

from firstlight.evaluate.paired import Paired, accuracy_difference, paired


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


def test_the_interval_of_the_difference_by_hand() -> None:
    """Agresti and Min 2005, "Wald+2": 10.5 - 4.5 of 52 images, with variance 15 - 6²/52."""
    pair = Paired(only_first=10, only_second=4, p=1.0, images=50)
    difference, (low, high) = accuracy_difference(pair, 50)
    assert difference == (10 - 4) / 50
    assert (low + high) / 2 == pytest.approx(6 / 52)
    assert (high - low) / 2 == pytest.approx(1.95996398 * (15 - 36 / 52) ** 0.5 / 52, rel=1e-7)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(200, [0.10, 0.05, 0.85], size=4000)  # true difference 0.05
    inside = 0
    for only_first, only_second, _ in counts.tolist():
        pair = Paired(only_first=only_first, only_second=only_second, p=1.0, images=200)
        _, (low, high) = accuracy_difference(pair, 200)
        inside += low < 0.05 < high
    assert inside / 4000 == pytest.approx(0.95, abs=0.015)
