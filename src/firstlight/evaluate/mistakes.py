"""Which predictions went most wrong. Axes: N images, K classes."""

import numpy as np
import numpy.typing as npt


def worst_mistakes(
    labels_N: npt.NDArray[np.int64], probabilities_NK: npt.NDArray[np.float32], count: int = 24
) -> npt.NDArray[np.int64]:
    """Indices of up to ``count`` wrong answers, the least probable truth first; ties by index."""
    truth_N = probabilities_NK[np.arange(len(labels_N)), labels_N]
    wrong = np.flatnonzero(probabilities_NK.argmax(axis=1) != labels_N)
    return wrong[np.argsort(truth_N[wrong], kind="stable")][:count]
