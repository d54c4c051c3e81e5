"""Which pairs of copies hold pictures together, so that there is still something to hold out.

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
"""A group with more than this part of a class, and more pictures of it than one has turns,
says that the class looks alike: pictures of a fixed camera, icons, a letter at many places."""
Labels = npt.NDArray[np.int64] | npt.NDArray[np.bool_]


class Grouped(NamedTuple):
    """Pairs that hold pictures together."""

    near: Pairs
    altered: Pairs
    alike_N: npt.NDArray[np.int64]
    """Numbers of the pictures, ascending, that look alike beyond what is kept together."""


def grouped(
    images_NHWC: UInt8Array | StoredImages,
    labels: Labels,
    near: Pairs,
    altered: Pairs,
) -> Grouped:
    """The pairs without those that chain most of a class into one group; ``labels`` are int64 N, or
    bool N×K of images with several.

    Such a group falls back to near copies, and where these chain it as well to pictures that are
    the same to the pixel.
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
    """Whether each picture is of a group with most of a class."""
    chained_N = np.zeros(len(labels), bool)
    group_N = groups(len(labels), pairs)
    for of_N in _classes(labels):
        sizes_G = np.bincount(group_N[of_N], minlength=len(labels))
        large_G = (sizes_G > MOST_ALIKE * of_N.sum()) & (sizes_G > FEW)
        chained_N |= large_G[group_N]
    return chained_N


def _classes(labels: Labels) -> Iterator[npt.NDArray[np.bool_]]:
    """Of each class, which pictures are of it."""
    if labels.ndim == 2:
        yield from labels.T
    else:
        yield from (labels == label for label in np.unique(labels))


def _same(images_NHWC: UInt8Array | StoredImages, numbers: npt.NDArray[np.int64]) -> Pairs:
    """Pairs that join those with equal pixels."""
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for number in numbers.tolist():
        pixels_HWC = np.ascontiguousarray(images_NHWC[number : number + 1])
        by_digest[hashlib.sha256(pixels_HWC.tobytes()).digest()].append(number)
    return [pair for same in by_digest.values() for pair in pairwise(same)]
