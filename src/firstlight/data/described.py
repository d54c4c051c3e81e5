"""Describe pictures by the low frequencies of their brightness and colours.

What all pictures of a set share gets little weight. Rotating or mirroring a picture does the same
to its description.

Axes: N images, H height, W width, C channels, F frequencies, D values of a description, G side of
a grid.
"""

import numpy as np
import numpy.typing as npt

from firstlight.data.duplicates import FloatArray, UInt8Array, cells, grey
from firstlight.data.stored import StoredImages, at_once

Int64Array = npt.NDArray[np.int64]

FAINT = 4.0
"""A standard deviation in grey levels. A picture with less has too little detail to compare."""
TURNS = [(swap, rows, columns) for swap in (0, 1) for rows in (0, 1) for columns in (0, 1)]
"""Whether axes are swapped, then rows reversed, then columns reversed. The first does nothing."""
_GRID = 16
_FREQUENCIES, _HIGHEST, _HIGHEST_COLOUR = 8, 8, 2
_COLOURS = np.array([[1 / 3, 1 / 3, 1 / 3], [1, -1, 0], [0.5, 0.5, -1]], np.float32)
_PRIOR = 100
"""The usual spectrum of pictures counts as much as this many pictures of the set."""


def waves_of(images_NHWC: UInt8Array | StoredImages) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the cosine transform of brightness (and of two colour differences) on a grid, N×C×F×F;
    and whether each picture is faint."""
    count, height, width, channels = images_NHWC.shape
    points, waves = np.arange(_GRID) + 0.5, np.arange(_FREQUENCIES)[:, None]
    cosines_FG = np.cos(np.pi * waves * points / _GRID) * (2 / _GRID) ** 0.5
    cosines_FG[0] /= 2**0.5
    rows_FH = (cosines_FG @ cells(height, _GRID)).astype(np.float32)
    columns_FW = (cosines_FG @ cells(width, _GRID)).astype(np.float32)
    found_NCFF = np.empty((count, channels, _FREQUENCIES, _FREQUENCIES), np.float32)
    faint_N = np.empty(count, bool)
    step = at_once(images_NHWC.shape[1:])
    for start in range(0, count, step):
        pixels_NHWC = images_NHWC[start : start + step]
        faint_N[start : start + step] = grey(pixels_NHWC).std(axis=(1, 2)) < FAINT
        pixels_NCHW = pixels_NHWC.transpose(0, 3, 1, 2).astype(np.float32)
        waves_NCFF = rows_FH @ pixels_NCHW @ columns_FW.T
        if channels == len(_COLOURS):
            waves_NCFF = np.einsum("kc,ncij->nkij", _COLOURS, waves_NCFF)
        found_NCFF[start : start + step] = waves_NCFF
    return found_NCFF, faint_N


def _kept(channels: int) -> npt.NDArray[np.bool_]:
    """Return which waves a description has, C×F×F. The mean brightness is not one of them."""
    row, column = np.indices((_FREQUENCIES, _FREQUENCIES))
    kept_CFF = np.repeat((row + column <= _HIGHEST_COLOUR)[None], channels, axis=0)
    kept_CFF[0] = (row + column <= _HIGHEST) & (row + column > 0)
    return kept_CFF


def described(waves_NCFF: FloatArray) -> FloatArray:
    """Return descriptions N×D of length 1: the waves divided by their spread in the set, over all
    eight turns.

    A small set says little about this spread, so the usual spectrum of pictures, which falls with
    the square of the frequency, counts too, and a level of noise. The weights do not change under
    the turns, so a turned description is the description of the turned picture.
    """
    channels = waves_NCFF.shape[1]
    kept_CFF = _kept(channels)
    values_ND = waves_NCFF[:, kept_CFF].astype(np.float32)
    spread_DD = np.zeros((values_ND.shape[1],) * 2)
    squares_DD = (values_ND.T @ values_ND).astype(np.float64) / len(values_ND)
    for places_D, signs_D in turns_of_descriptions(values_ND.shape[1]):
        turned_DD = squares_DD[np.ix_(places_D, places_D)] * np.outer(signs_D, signs_D)
        spread_DD += turned_DD / len(TURNS)
    row, column = np.indices((_FREQUENCIES, _FREQUENCIES))
    usual_CFF = kept_CFF / (row**2 + column**2 + 0.5)
    channel_D = np.broadcast_to(np.arange(channels)[:, None, None], kept_CFF.shape)[kept_CFF]
    usual_D = usual_CFF[kept_CFF]
    for channel in range(channels):
        here_D = channel_D == channel
        usual_D[here_D] *= np.diag(spread_DD)[here_D].sum() / usual_D[here_D].sum()
    count = len(values_ND)
    spread_DD = (count * spread_DD + _PRIOR * np.diag(usual_D)) / (count + _PRIOR)
    variances_D, directions_DD = np.linalg.eigh(spread_DD)
    weights_D = 1 / np.sqrt(np.maximum(variances_D, 0) + _GRID**2)
    described_ND: FloatArray = values_ND @ ((directions_DD * weights_D) @ directions_DD.T).astype(
        np.float32
    )
    lengths_N1 = np.linalg.norm(described_ND, axis=1, keepdims=True)
    described_ND /= np.maximum(lengths_N1, 1e-6)
    return described_ND


def turns_of_descriptions(values: int) -> list[tuple[Int64Array, FloatArray]]:
    """Return for each turn the index and the sign of the value at each place."""
    channels = 1 if values == _kept(1).sum() else len(_COLOURS)
    kept_CFF = _kept(channels)
    number_CFF = np.full(kept_CFF.shape, -1)
    number_CFF[kept_CFF] = np.arange(values)
    row, column = np.indices((_FREQUENCIES, _FREQUENCIES))
    found = []
    for swap, rows, columns in TURNS:
        places_CFF = number_CFF.swapaxes(1, 2) if swap else number_CFF
        signs_FF = (-1.0) ** (rows * row + columns * column)
        signs_CFF = np.broadcast_to(signs_FF, kept_CFF.shape)
        found.append((places_CFF[kept_CFF], signs_CFF[kept_CFF].astype(np.float32)))
    return found
