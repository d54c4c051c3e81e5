"""Two models on the same images. Axes: N images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The images that only one of two models has right."""

    only_first: int
    only_second: int
    p: float
    """How often chance alone parts two equally good models at least so far: the exact, two-sided
    McNemar test (McNemar 1947)."""


def paired(first_right_N: npt.NDArray[np.bool_], second_right_N: npt.NDArray[np.bool_]) -> Paired:
    """Compare what two models have right of the same N images."""
    from scipy.stats import binomtest

    only_first = int((first_right_N & ~second_right_N).sum())
    only_second = int((~first_right_N & second_right_N).sum())
    apart = only_first + only_second
    p = float(binomtest(only_first, apart).pvalue) if apart else 1.0
    return Paired(only_first=only_first, only_second=only_second, p=p)
