"""Two models on the same images. Axes: N images."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Two-sided 95 % quantile of the normal distribution.
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The images that only one of two models gets right."""

    only_first: int
    only_second: int
    p: float
    """The p-value of the exact, two-sided McNemar test (McNemar 1947): how often two equally good
    models differ at least this much by chance."""
    images: int
    """Number of images that both answered."""


def paired(first_right_N: npt.NDArray[np.bool_], second_right_N: npt.NDArray[np.bool_]) -> Paired:
    """Compare which of the same N images two models get right."""
    only_first = int((first_right_N & ~second_right_N).sum())
    only_second = int((~first_right_N & second_right_N).sum())
    apart = only_first + only_second
    p = min(1.0, 2 * _at_most(min(only_first, only_second), apart))
    return Paired(only_first=only_first, only_second=only_second, p=p, images=len(first_right_N))


def _at_most(heads: int, throws: int) -> float:
    """The probability of at most ``heads`` heads in ``throws`` throws of a coin."""
    of_T = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, throws + 1)))])  # log factorials
    ways_H = of_T[throws] - of_T[: heads + 1] - of_T[throws - heads : throws + 1][::-1]
    return float(np.exp(ways_H - throws * math.log(2)).sum())


def accuracy_difference(pair: Paired, images: int) -> tuple[float, tuple[float, float]]:
    """The first model's accuracy minus the second's, -1 to 1, and the ends of its 95 % interval.

    The interval is Wald's, with half an image added to each of the four counts of who is right
    (Agresti and Min 2005, "Wald+2").
    """
    more, fewer, total = pair.only_first + 0.5, pair.only_second + 0.5, images + 2
    middle = (more - fewer) / total
    half = _Z * math.sqrt(more + fewer - (more - fewer) ** 2 / total) / total
    return (pair.only_first - pair.only_second) / images, (middle - half, middle + half)
