"""Which predictions went most wrong. Axes: N images."""

import numpy as np
import numpy.typing as npt


def worst_mistakes(
    wrong_N: npt.NDArray[np.bool_], truth_N: npt.NDArray[np.float32], count: int = 24
) -> npt.NDArray[np.int64]:
    """Indices of up to ``count`` wrong answers, the least probable true class first; ties by index.

    ``truth_N`` is that probability.
    """
    wrong = np.flatnonzero(wrong_N)
    return wrong[np.argsort(truth_N[wrong], kind="stable")][:count]
