"""Find pictures that show almost nothing, are unlike all others, or were enlarged.

Axes: N images, H height, W width, F measures of a picture.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firstlight.data.duplicates import FloatArray, grey
from firstlight.data.findings import Finding
from firstlight.data.listing import counted
from firstlight.data.stored import StoredImages

Int64Array = npt.NDArray[np.int64]

LITTLE_RANGE = 16
"""With fewer levels between its darkest and brightest pixels, a picture is nearly flat."""
BLACK, WHITE = 32, 223
"""A picture is nearly black without a pixel above the first level, and nearly white without one
below the second."""
MANY = 0.2
"""If this fraction of a set is poor, the pictures are no accidents to leave out: the set is."""
UNLIKE = 6.0
"""A picture is unlike all others if it is this many times as far from its neighbours as the median
picture."""
NEIGHBOUR, LEAST_PICTURES = 3, 50
"""The third nearest picture counts, so two or three similar outliers are still found."""
_ROWS = 256
_NEIGHBOURS = 1000
"""Neighbours are searched among this many pictures. Among more, all distances shrink."""
_LEAST_SPREAD = 4.0
"""In a set of nearly equal pictures, a difference of this many levels does not count."""
ALL_DETAIL = 0.05
"""A picture loses nothing if fewer pixels lose no more than this fraction of its contrast."""
FEWER = (0.25, 0.5, 0.75)
"""The fractions of the side to try."""
LEAST_SIZE = 8
_AT_ONCE = 256


def looks_found(
    names: Sequence[str],
    images_NHWC: StoredImages,
    readable: Int64Array,
    whole: npt.NDArray[np.bool_],
) -> list[Finding]:
    """``readable`` are the numbers of the images that could be decoded. ``whole`` says for each of
    them whether its file has at least as many pixels as the image."""
    if not len(readable):
        return []
    measures_NF, left_NK = _measured(images_NHWC, readable)
    low_N, high_N = measures_NF[:, 0], measures_NF[:, 1]
    flat_N = high_N - low_N < LITTLE_RANGE
    blank_N = high_N == low_N  # reported as pictures of one colour
    black_N, white_N = ~flat_N & (high_N < BLACK), ~flat_N & (low_N > WHITE)
    poor_N = flat_N | black_N | white_N
    named = [names[at] for at in readable.tolist()]
    found = [
        *_poor("nearly one colour", "almost nothing to see in them", flat_N & ~blank_N, named),
        *_poor("nearly black", f"no pixel above level {BLACK} of 255", black_N, named),
        *_poor("nearly white", f"no pixel below level {WHITE} of 255", white_N, named),
        *_unlike(measures_NF, ~poor_N, named),
    ]
    return [*found, *_enlarged(left_NK, ~blank_N & whole, named, images_NHWC.shape[1:3])]


def _measured(images_NHWC: StoredImages, readable: Int64Array) -> tuple[FloatArray, FloatArray]:
    """Return measures of each picture, N×F, darkest and brightest level first; and the fraction of
    its contrast that each of ``FEWER`` loses, N×3."""
    measures, left = [], []
    for start in range(0, len(readable), _AT_ONCE):
        pixels_NHWC = images_NHWC[readable[start : start + _AT_ONCE]]
        grey_NHW = grey(pixels_NHWC)
        sorted_NP = np.sort(grey_NHW.reshape(len(grey_NHW), -1), axis=1)
        count = sorted_NP.shape[1]
        few = count // 1000  # hot pixels
        contrast_N = grey_NHW.std(axis=(1, 2))
        means_NC = pixels_NHWC.mean(axis=(1, 2))
        colour_NC = means_NC - means_NC.mean(axis=1, keepdims=True)
        spread_N = (pixels_NHWC.max(axis=3).astype(np.float32) - pixels_NHWC.min(axis=3)).mean(
            axis=(1, 2)
        )
        lost_NK = _lost(grey_NHW) / np.maximum(contrast_N, 1e-3)[:, None]
        steps = [np.abs(np.diff(grey_NHW, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
        logs = [20 * np.log1p(value) for value in (*steps, lost_NK[:, 1] * contrast_N)]
        tenths = [sorted_NP[:, count * tenth // 10] for tenth in (1, 5, 9)]
        plain = [grey_NHW.mean(axis=(1, 2)), contrast_N, *tenths, spread_N, *colour_NC.T, *logs]
        low_N, high_N = sorted_NP[:, few], sorted_NP[:, -1 - few]
        # A colour may vary where grey does not.
        by_channel_NPC = np.sort(pixels_NHWC.reshape(len(pixels_NHWC), count, -1), axis=1)
        ranges_NC = by_channel_NPC[:, -1 - few].astype(np.float32) - by_channel_NPC[:, few]
        high_N = np.maximum(high_N, low_N + ranges_NC.max(axis=1))
        measures.append(np.column_stack([low_N, high_N, *plain]))
        repeated_N = _repeated(grey_NHW)
        left.append(np.where(np.array(FEWER) >= repeated_N[:, None], 0, lost_NK))
    return np.concatenate(measures), np.concatenate(left)


def _lost(grey_NHW: FloatArray) -> FloatArray:
    """Return the contrast that is lost if only the lowest frequencies are kept, N×3, in levels."""
    lost = []
    for part in FEWER:
        rows_HH, columns_WW = (_lowest(side, part) for side in grey_NHW.shape[1:])
        lost.append((grey_NHW - rows_HH @ grey_NHW @ columns_WW).std(axis=(1, 2)))
    return np.stack(lost, axis=1)


def _lowest(side: int, part: float) -> FloatArray:
    """Return a matrix side×side that keeps this fraction of the cosine waves."""
    kept = np.arange(round(side * part))[:, None]
    cosines = np.cos(np.pi * kept * (np.arange(side) + 0.5) / side) * (2 / side) ** 0.5
    cosines[:1] /= 2**0.5
    lowest: FloatArray = (cosines.T @ cosines).astype(np.float32)
    return lowest


def _repeated(grey_NHW: FloatArray) -> FloatArray:
    """Return the fraction of rows and columns that differ from the previous one, between the first
    and the last that do. About 1/k if each pixel became k × k; 1 if that cannot be told."""
    parts = []
    for axis in (1, 2):
        changed_NS = (np.diff(grey_NHW, axis=axis) != 0).any(axis=3 - axis)
        changes_N = changed_NS.sum(axis=1)
        first_N = changed_NS.argmax(axis=1)
        span_N = changed_NS.shape[1] - 1 - changed_NS[:, ::-1].argmax(axis=1) - first_N
        parts.append(np.where(changes_N >= 5, (changes_N - 1) / np.maximum(span_N, 1), 1))
    repeated_N: FloatArray = np.maximum(*parts).astype(np.float32)
    return repeated_N


def _poor(kind: str, why: str, which_N: npt.NDArray[np.bool_], names: list[str]) -> list[Finding]:
    chosen = tuple(names[at] for at in np.flatnonzero(which_N).tolist())
    if not chosen:
        return []
    many = len(chosen) >= max(2, MANY * len(names))
    advice = (
        "These are too many to be single mistakes: check how the data set was made, and make it "
        "again"
        if many
        else "Leave them out, unless they should look like that"
    )
    return [
        Finding(
            kind=kind,
            severe=many,
            text=f"{why} ({counted(len(chosen), 'picture')} of {len(names):,}). {advice}",
            groups=tuple((name,) for name in chosen),
            exclude=() if many else chosen,
        )
    ]


def _unlike(
    measures_NF: FloatArray, which_N: npt.NDArray[np.bool_], names: list[str]
) -> list[Finding]:
    """Find pictures with a brightness, contrast, colours and detail unlike any other's."""
    numbers = np.flatnonzero(which_N)
    if len(numbers) < LEAST_PICTURES:
        return []
    points_NF = measures_NF[numbers, 2:]
    low_F, high_F = np.quantile(points_NF, [0.1, 0.9], axis=0)
    points_NF = points_NF / np.maximum(high_F - low_F, _LEAST_SPREAD)
    some = np.unique(np.linspace(0, len(numbers) - 1, _NEIGHBOURS).astype(np.int64))
    distance_N = np.concatenate(
        [
            _distance(points, points_NF[some])
            for points in np.array_split(points_NF, len(points_NF) // _ROWS + 1)
        ]
    )
    far_N = distance_N > UNLIKE * max(float(np.median(distance_N)), 0.1)
    chosen = numbers[far_N][np.argsort(-distance_N[far_N])].tolist()
    if not chosen:
        return []
    return [
        Finding(
            kind="unlike the others",
            severe=False,
            text=(
                "far from all others in brightness, contrast, colours or detail "
                f"({counted(len(chosen), 'picture')}). Look at them: they may not belong here, "
                "or may be of a kind that is too rare"
            ),
            groups=tuple((names[at],) for at in chosen),
        )
    ]


def _distance(points_NF: FloatArray, some_MF: FloatArray) -> FloatArray:
    """Return the distance from each of N points to neighbour number ``NEIGHBOUR`` among M points,
    which contain it."""
    squares_NM = np.square(points_NF[:, None] - some_MF).sum(axis=2)
    nearest_N: FloatArray = np.partition(squares_NM, NEIGHBOUR, axis=1)[:, NEIGHBOUR]
    return np.sqrt(nearest_N)


def _enlarged(
    left_NK: FloatArray,
    which_N: npt.NDArray[np.bool_],
    names: list[str],
    sides: tuple[int, ...],
) -> list[Finding]:
    """Find pictures that fewer pixels would hold; if most are, suggest the size that is enough."""
    numbers = np.flatnonzero(which_N)
    if not len(numbers):
        return []
    held_NK = left_NK[numbers] < ALL_DETAIL
    for part, held_N in zip(FEWER, held_NK.T, strict=True):
        if held_N.sum() >= max(2, 0.8 * len(numbers)) and min(sides) * part >= LEAST_SIZE:
            height, width = (round(side * part) for side in sides)
            return [
                Finding(
                    kind="enlarged",
                    severe=False,
                    text=(
                        f"enlarged from fewer pixels ({int(held_N.sum()):,} of {len(names):,} "
                        f"pictures): {width} × {height} holds as much detail as {sides[1]} × "
                        f"{sides[0]}. --size {max(height, width)} is as good, and trains faster"
                    ),
                    groups=tuple((names[at],) for at in numbers[held_N][:12].tolist()),
                )
            ]
    # A slightly soft picture is no fault: half the side must be enough.
    some = numbers[held_NK[:, FEWER.index(0.5)]].tolist()
    if not some:
        return []
    return [
        Finding(
            kind="enlarged",
            severe=False,
            text=(
                f"enlarged from fewer pixels, or out of focus ({counted(len(some), 'picture')}): "
                "half their size holds the same detail. If you have better copies, use those"
            ),
            groups=tuple((names[at],) for at in some),
        )
    ]
