"""Connected components of a mask, and openings along its columns. Axes: H height, W width.

SciPy has both, but it takes 114 MB, as much as two copies of NumPy, and a quarter of a second to
load. Predicting a drawing needed only these two functions of it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]


def connected(mask_HW: BoolArray, *, diagonally: bool = False) -> tuple[Int64Array, int]:
    """Return the connected components of a mask, int64 H×W, and how many there are.

    The pixels of a component have its number, counted from 1 in reading order of the first pixel;
    others are 0. Neighbours share a side, or with ``diagonally`` also a corner.
    """
    height, width = mask_HW.shape
    wide = width + 2  # so that no run continues from one row into the next
    padded = np.zeros((height, wide), dtype=bool)
    padded[:, 1:-1] = mask_HW
    edges = np.flatnonzero(np.diff(padded.ravel()))
    starts_R, ends_R = edges[::2] + 1, edges[1::2] + 1  # of each run; the end is exclusive
    # In the row below, a run touches those from the first that ends after its start to the last
    # that starts before its end.
    reach = 1 if diagonally else 0
    from_R = np.searchsorted(ends_R, starts_R + wide - reach, side="right")
    to_R = np.searchsorted(starts_R, ends_R + wide + reach, side="left")
    count_R = np.maximum(to_R - from_R, 0)
    above_E = np.repeat(np.arange(len(starts_R)), count_R)
    place_E = np.arange(len(above_E)) - np.repeat(np.cumsum(count_R) - count_R, count_R)
    below_E = from_R[above_E] + place_E
    first_R = _joined(len(starts_R), above_E, below_E)
    is_first_R = first_R == np.arange(len(first_R))
    number_R = np.cumsum(is_first_R)[first_R]
    parts_HW = np.zeros(height * wide, dtype=np.int64)
    parts_HW[padded.ravel()] = np.repeat(number_R, ends_R - starts_R)
    return parts_HW.reshape(height, wide)[:, 1:-1], int(is_first_R.sum())


def _joined(count: int, one_E: Int64Array, other_E: Int64Array) -> Int64Array:
    """Return for each of ``count`` items the lowest item that it is linked with by pairs."""
    lowest = np.arange(count)
    while True:
        one, other = lowest[one_E], lowest[other_E]
        if (one == other).all():
            return lowest
        np.minimum.at(lowest, np.maximum(one, other), np.minimum(one, other))
        while ((further := lowest[lowest]) != lowest).any():
            lowest = further


def opened(values_HW: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return the opening by a column of ``size`` values (Serra 1982). It removes what is brighter
    than its surroundings over fewer than ``size`` rows.

    Only rows with all of their windows are returned: ``size - 1`` fewer above and below.
    """
    windows = np.lib.stride_tricks.sliding_window_view
    eroded_HW = windows(values_HW, size, axis=0).min(axis=-1)
    opened_HW: npt.NDArray[Any] = windows(eroded_HW, size, axis=0).max(axis=-1)
    return opened_HW
