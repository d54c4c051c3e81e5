"""Find copies that were cropped anywhere or rotated by any angle.

The candidate pairs are given. For each, the place of one picture in the other is searched, or the
angle between them. What both show is cut out and compared as in ``altered``.

Axes: M pairs, H height, W width, C channels, G side of a grid, S side of a part, K places,
P points.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from firstlight.data.duplicates import FloatArray, Pairs, UInt8Array, cells, grey
from firstlight.data.laid_on import FINE, agreement, detail, is_same
from firstlight.data.rings import ANGLES, RINGS, on_rings, sampled
from firstlight.data.stored import StoredImages
from firstlight.threads import usable_threads

WORTH = 0.6
"""Threshold for the correlation of coarse detail at the best place or angle."""
FILLED = 0.93
"""A part with more flat background than this is not judged: the same object elsewhere on a flat
background is no sign of a copy."""
_GRID, _LARGE = 16, 64
_PARTS = range(15, 7, -1)
"""Sides of a part, in cells of a grid of 16: down to half of the picture's side."""
_SCALES = ((1.0, 1.0), (0.85, 1.0), (0.7, 1.0), (1.0, 0.85), (1.0, 0.7))
"""Scales of the rings of both pictures, because one may be a crop of the rotated other."""
_PAIRS = 128
_MOST_THREADS = 8


class _Turn(NamedTuple):
    """How to rotate the first picture so that it matches the second."""

    alike_M: FloatArray
    angle_M: FloatArray
    """In radians."""
    mirrored_M: npt.NDArray[np.bool_]
    scales_M2: FloatArray


def moved_copies(images_NHWC: UInt8Array | StoredImages, candidates: Pairs) -> Pairs:
    """Return the sorted pairs of which one was cropped from the other, or rotated, or both.

    This finds crops to at least half of the side, and rotations by any angle, also mirrored. It
    checks about 1,000 pairs per second.
    """
    blocks = [candidates[at : at + _PAIRS] for at in range(0, len(candidates), _PAIRS)]
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(min(usable_threads(), _MOST_THREADS)) as pool,
    ):
        return sorted(
            pair
            for block, moved_M in zip(
                blocks, pool.map(lambda block: _moved(images_NHWC, block), blocks), strict=True
            )
            for pair, moved in zip(block, moved_M.tolist(), strict=True)
            if moved
        )


def _moved(images_NHWC: UInt8Array | StoredImages, pairs: Pairs) -> npt.NDArray[np.bool_]:
    which, places = np.unique(np.array(pairs).T, return_inverse=True)
    rows_GH, columns_GW = (cells(side, _LARGE) for side in images_NHWC.shape[1:3])
    large = (rows_GH @ grey(images_NHWC[which]) @ columns_GW.T).astype(np.float32)
    one, other = (large[number_M] for number_M in places.reshape(2, -1))
    moved_M = np.zeros(len(pairs), bool)
    for worth, first, second in _cut_out(one, other):
        compared = agreement(first, second)
        moved_M[worth] |= is_same(compared) & (compared.filled_M >= FILLED)
    return moved_M


def _cut_out(
    one_MGG: FloatArray, other_MGG: FloatArray
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, FloatArray]]:
    """Yield pairs' numbers, and what both pictures show, each on a grid of ``FINE`` cells."""
    for whole_MGG, part_MGG in ((one_MGG, other_MGG), (other_MGG, one_MGG)):
        alike_M, place_M3 = _place(whole_MGG, part_MGG)
        worth = np.flatnonzero(alike_M >= WORTH)
        if len(worth):
            yield worth, _part(whole_MGG[worth], place_M3[worth]), _means(part_MGG[worth], FINE)
    turn = _turn(one_MGG, other_MGG)
    worth = np.flatnonzero(turn.alike_M >= WORTH)
    if len(worth):
        some = _Turn(
            turn.alike_M[worth],
            turn.angle_M[worth],
            turn.mirrored_M[worth],
            turn.scales_M2[worth],
        )
        yield worth, *_turned(one_MGG[worth], other_MGG[worth], some)


def _place(whole_MGG: FloatArray, part_MGG: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the correlation at the part's best place in the whole, and that place's first row,
    first column and side, M×3."""
    count = len(whole_MGG)
    coarse = _detail(whole_MGG, _GRID, 0.7, 3)
    best_M, place_M3 = np.full(count, -1, np.float32), np.zeros((count, 3), np.float32)
    for side in _PARTS:
        part_MP = _detail(part_MGG, side, 0.7, 3).reshape(count, -1)
        part_MP = part_MP - part_MP.mean(axis=1, keepdims=True)
        part_MP /= np.maximum(np.linalg.norm(part_MP, axis=1, keepdims=True), 1e-3)
        parts = sliding_window_view(coarse, (side, side), axis=(1, 2))
        across = parts.shape[2]
        parts_MKP = parts.reshape(count, across**2, side**2)
        sums_MK, squares_MK = parts_MKP.sum(axis=2), np.einsum("mkp,mkp->mk", parts_MKP, parts_MKP)
        spread_MK = np.sqrt(np.maximum(squares_MK - sums_MK**2 / side**2, 1e-3))
        alike_MK = np.einsum("mkp,mp->mk", parts_MKP, part_MP) / spread_MK
        at_M = alike_MK.argmax(axis=1)
        alike_M = alike_MK[np.arange(count), at_M]
        better_M = alike_M > best_M
        best_M[better_M] = alike_M[better_M]
        found_M3 = np.stack([*np.divmod(at_M, across), np.full(count, side)], axis=1)
        place_M3[better_M] = found_M3[better_M]
    return best_M, place_M3


def _means(large_MGG: FloatArray, side: int) -> FloatArray:
    """Return means on a grid of ``side`` cells."""
    cells_SG = cells(_LARGE, side)
    means_MSS: FloatArray = (cells_SG @ large_MGG @ cells_SG.T).astype(np.float32)
    return means_MSS


def _detail(large_MGG: FloatArray, side: int, finest: float, coarsest: float) -> FloatArray:
    return detail(_means(large_MGG, side), finest, coarsest)


def _part(whole_MGG: FloatArray, place_M3: FloatArray) -> FloatArray:
    points_G = (np.arange(FINE) + 0.5) / FINE
    first_M1, left_M1, side_M1 = (place_M3[:, k, None] * (_LARGE / _GRID) for k in range(3))
    rows_MG, columns_MG = (edge + points_G * side_M1 - 0.5 for edge in (first_M1, left_M1))
    shape = (len(whole_MGG), FINE, FINE)
    return sampled(
        whole_MGG,
        np.broadcast_to(rows_MG[:, :, None], shape),
        np.broadcast_to(columns_MG[:, None, :], shape),
    )


def _turn(one_MGG: FloatArray, other_MGG: FloatArray) -> _Turn:
    """Return the angle at which the rings of both agree best."""
    count = len(one_MGG)
    one, other = (_detail(x, FINE, 1, 6) for x in (one_MGG, other_MGG))
    best = _Turn(
        np.full(count, -1, np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, bool),
        np.ones((count, 2), np.float32),
    )
    for scales in _SCALES:
        waves_MRF, size_M = _waves(other, scales[1])
        for mirrored in (False, True):
            own_MRF, own_size_M = _waves(one[:, :, ::-1] if mirrored else one, scales[0])
            both_MF = (own_MRF.conj() * waves_MRF).sum(axis=1)
            alike_MA = np.fft.irfft(both_MF, ANGLES, axis=1)
            alike_MA /= np.maximum(own_size_M * size_M, 1e-3)[:, None]
            at_M = alike_MA.argmax(axis=1)
            alike_M = alike_MA[np.arange(count), at_M]
            better_M = alike_M > best.alike_M
            best.alike_M[better_M] = alike_M[better_M]
            best.angle_M[better_M] = at_M[better_M] * 2 * np.pi / ANGLES
            best.mirrored_M[better_M] = mirrored
            best.scales_M2[better_M] = scales
    return best


def _waves(detail_MGG: FloatArray, scale: float) -> tuple[npt.NDArray[np.complex128], FloatArray]:
    """Return the waves on each ring, weighted by its length, M×R×F; and their norm."""
    rings_MRA = on_rings(detail_MGG, scale)
    weights_R1 = (np.arange(RINGS)[:, None] + 1.0) / RINGS
    mean_M11 = (rings_MRA * weights_R1).mean(axis=(1, 2), keepdims=True) / weights_R1.mean()
    rings_MRA = (rings_MRA - mean_M11) * np.sqrt(weights_R1)
    size_M: FloatArray = np.sqrt((rings_MRA**2).sum(axis=(1, 2)))
    return np.fft.rfft(rings_MRA, axis=2), size_M


def _turned(
    one_MGG: FloatArray, other_MGG: FloatArray, turn: _Turn
) -> tuple[FloatArray, FloatArray]:
    """Return the largest central square that both show, the first rotated to match the second."""
    one_MGG = np.where(turn.mirrored_M[:, None, None], one_MGG[:, :, ::-1], one_MGG)
    half = _LARGE / 2 / np.sqrt(2)
    points_G = ((np.arange(FINE) + 0.5) / FINE * 2 - 1) * half
    down_GG, right_GG = np.meshgrid(points_G, points_G, indexing="ij")
    cosine, sine = (f(turn.angle_M)[:, None, None] for f in (np.cos, np.sin))
    own, others = (turn.scales_M2[:, k, None, None] for k in (0, 1))
    middle = (_LARGE - 1) / 2
    rows, columns = down_GG * cosine - right_GG * sine, right_GG * cosine + down_GG * sine
    return (
        sampled(one_MGG, middle + own * rows, middle + own * columns),
        sampled(other_MGG, middle + others * down_GG, middle + others * right_GG),
    )
