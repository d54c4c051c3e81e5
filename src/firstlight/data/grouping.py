"""Decide which pairs of copies keep pictures together, so that something is left to hold out.

Axes: N images, K classes, G groups.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firstlight.data.duplicates import Pairs, UInt8Array, groups
from firstlight.data.stored import StoredImages

MOST_ALIKE, FEW = 0.5, 8
"""If a group has more than this fraction of a class, and more pictures than one has turns, the
class is naturally similar: pictures of a fixed camera, icons, one letter at many places."""
Labels = npt.NDArray[np.int64] | npt.NDArray[np.bool_]


class Grouped(NamedTuple):
    """Pairs that keep pictures together."""

    near: Pairs
    altered: Pairs
    alike_N: npt.NDArray[np.int64]
    """Numbers of the pictures, ascending, that are similar but not kept together."""


def grouped(
    images_NHWC: UInt8Array | StoredImages,
    labels: Labels,
    near: Pairs,
    altered: Pairs,
) -> Grouped:
    """Return the pairs without those that chain most of a class into one group. ``labels`` are
    int64 N, or bool N×K for images with several.

    Such a group falls back to near copies. If these chain it too, only pictures with the same
    pixels stay together.
    """
    alike_N = _chained(labels, [*near, *altered])
    if not alike_N.any():
        return Grouped(near, altered, np.flatnonzero(alike_N))
    altered = [(i, j) for i, j in altered if not alike_N[i]]
    chained_N = _chained(labels, [*near, *altered])
    if chained_N.any():
        near = [(i, j) for i, j in near if not chained_N[i]]
        near = sorted({*near, *_same(images_NHWC, np.flatnonzero(chained_N))})
    return Grouped(near, altered, np.flatnonzero(alike_N))


def _chained(labels: Labels, pairs: Pairs) -> npt.NDArray[np.bool_]:
    """Return whether each picture is in a group with most of a class."""
    chained_N = np.zeros(len(labels), bool)
    group_N = groups(len(labels), pairs)
    for of_N in _classes(labels):
        sizes_G = np.bincount(group_N[of_N], minlength=len(labels))
        large_G = (sizes_G > MOST_ALIKE * of_N.sum()) & (sizes_G > FEW)
        chained_N |= large_G[group_N]
    return chained_N


def _classes(labels: Labels) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield for each class which pictures belong to it."""
    if labels.ndim == 2:
        yield from labels.T
    else:
        yield from (labels == label for label in np.unique(labels))


def _same(images_NHWC: UInt8Array | StoredImages, numbers: npt.NDArray[np.int64]) -> Pairs:
    """Return pairs that join the pictures with equal pixels."""
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for number in numbers.tolist():
        pixels_HWC = np.ascontiguousarray(images_NHWC[number : number + 1])
        by_digest[hashlib.sha256(pixels_HWC.tobytes()).digest()].append(number)
    return [pair for same in by_digest.values() for pair in pairwise(same)]
