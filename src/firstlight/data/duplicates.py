"""Find exact copies, and copies that were saved again, resized or recompressed.

Axes: N images, H height, W width, C channels, T values of a thumbnail.
"""

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from firstlight.data.stored import StoredImages, at_once

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Pairs = list[tuple[int, int]]

GRID = 16
"""Side of the thumbnails that are used to find candidates."""
THUMBNAILS_ALIKE = 0.98
"""Two pictures are candidates from this correlation of their thumbnails."""
PICTURES_ALIKE = 0.985
"""Two pictures are near copies from this correlation of their grey pixels. A photograph that was
reduced to a third and saved as JPEG with quality 70 keeps 0.99; of 20,000 MNIST digits, five pairs
are as similar."""
_FLAT = 1.0  # A standard deviation of at most one level: nothing to compare.
_DIRECTIONS = 48
_ROWS, _COLUMNS = 500, 32_768
MOST_EACH = 100
"""A picture is paired with this many of its later copies at most. A thousand frames of one scene
are half a million pairs, which say no more."""


def near_copies(images_NHWC: UInt8Array | StoredImages) -> Pairs:
    """Return the sorted pairs (i, j), i < j, of near and exact copies; at most ``MOST_EACH`` for
    each i.

    Pictures of a single colour do not count as copies. The time grows with N²: about ten seconds
    for 60,000 pictures on two cores.
    """
    if len(images_NHWC) < 2:
        return []
    thumbnails_NT, told_N = _normalised(_thumbnails(images_NHWC).reshape(len(images_NHWC), -1))
    candidates = _alike(thumbnails_NT, told_N)
    found: Pairs = []
    step = min(_ROWS, 2 * at_once(images_NHWC.shape[1:]))
    for start in range(0, len(candidates), step):
        i, j = candidates[start : start + step].T
        # If there are many copies, one picture is in many pairs.
        which, places = np.unique(candidates[start : start + step].T, return_inverse=True)
        pixels_NT, _ = _normalised(grey(images_NHWC[which]).reshape(len(which), -1))
        near = _products(pixels_NT, pixels_NT, *places.reshape(2, -1)) >= PICTURES_ALIKE
        found += zip(i[near].tolist(), j[near].tolist(), strict=True)
    return sorted(found)


def groups(count: int, pairs: Pairs) -> npt.NDArray[np.int64]:
    """Return for each of ``count`` pictures the smallest number of those it is linked with, through
    any number of pairs."""
    root = list(range(count))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in pairs:
        a, b = sorted((find(i), find(j)))
        root[b] = a
    return np.array([find(i) for i in range(count)], dtype=np.int64)


def _alike(thumbnails_NT: FloatArray, told_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the pairs with enough correlation of the thumbnails, M×2; the first for each picture.

    A product of two vectors is at most the product of their components along the main directions,
    plus the product of the lengths of the rest. So one short product rules out nearly all pairs.
    """
    _, directions_TT = np.linalg.eigh(thumbnails_NT.T @ thumbnails_NT)
    main_NM = thumbnails_NT @ directions_TT[:, -_DIRECTIONS:]
    rest_N1 = np.sqrt(np.maximum(0, 1 - (main_NM**2).sum(axis=1, keepdims=True)))
    short_NM = np.hstack([main_NM, rest_N1]).astype(np.float32)
    short_NM[~told_N] = 0
    count, parts = len(short_NM), [np.empty((0, 2), np.int64)]
    for start in range(0, count, _ROWS):
        found_N = np.zeros(min(_ROWS, count - start), np.int64)
        for first in range(start, count, _COLUMNS):  # to have only a part of them in memory
            bound = short_NM[start : start + _ROWS] @ short_NM[first : first + _COLUMNS].T
            i, j = np.divmod(np.flatnonzero(bound >= THUMBNAILS_ALIKE), bound.shape[1])
            later = i + start < j + first
            i, j = i[later], j[later]
            here = thumbnails_NT[start : start + _ROWS], thumbnails_NT[first : first + _COLUMNS]
            near = _products(*here, i, j) >= THUMBNAILS_ALIKE
            i, j = i[near], j[near]
            # The place of each among the pairs of its i, which are next to each other.
            place = np.arange(len(i)) - np.searchsorted(i, i)
            kept = found_N[i] + place < MOST_EACH
            i, j = i[kept], j[kept]
            found_N += np.bincount(i, minlength=len(found_N))
            parts.append(np.stack([i + start, j + first], axis=1))
    pairs = np.concatenate(parts)
    return pairs[np.lexsort(pairs.T[::-1])]


def _products(
    one_NT: FloatArray, other_NT: FloatArray, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]
) -> FloatArray:
    """Return the product of each pair of rows, computed a few thousand at a time."""
    parts = [
        np.einsum("nt,nt->n", one_NT[i[at : at + 4096]], other_NT[j[at : at + 4096]])
        for at in range(0, len(i), 4096)
    ]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _thumbnails(images_NHWC: UInt8Array | StoredImages) -> FloatArray:
    """Return grey means on a grid, N×16×16."""
    count, height, width, _ = images_NHWC.shape
    found = np.empty((count, GRID, GRID), np.float32)
    rows, columns = cells(height, GRID), cells(width, GRID)
    step = at_once(images_NHWC.shape[1:])
    with threadpool_limits(1, "blas"):  # for such a small product, more threads only wait
        for start in range(0, count, step):
            grey_NHW = grey(images_NHWC[start : start + step])
            found[start : start + step] = rows @ grey_NHW @ columns.T
    return found


def cells(side: int, grid: int) -> FloatArray:
    """Return a matrix grid×side whose rows average the pixels of one cell each. It also works for
    fewer pixels than cells."""
    edges, pixels = np.linspace(0, side, grid + 1), np.arange(side)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    shares = np.maximum(covered, 0)
    averages: FloatArray = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return averages


def grey(images_NHWC: UInt8Array) -> FloatArray:
    """Return the mean of the channels, N×H×W."""
    # The same bits as NumPy's mean, several times as fast.
    channels = images_NHWC.shape[3]
    grey_NHW: FloatArray = images_NHWC[..., 0].astype(np.float32)
    for channel in range(1, channels):
        grey_NHW += images_NHWC[..., channel]
    grey_NHW /= np.float32(channels)
    return grey_NHW


def _normalised(values_NT: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return each row with mean 0 and length 1, and whether it was not flat."""
    centred_NT = values_NT - values_NT.mean(axis=1, keepdims=True)
    lengths_N = np.sqrt(np.einsum("nt,nt->n", centred_NT, centred_NT))
    told_N = lengths_N > _FLAT * values_NT.shape[1] ** 0.5
    centred_NT /= np.maximum(lengths_N, 1e-6)[:, None]
    return centred_NT, told_N
