"""Overlay two pictures and measure how well their detail agrees.

Axes: M pairs of pictures, G side of a grid, P points of it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firstlight.data.duplicates import FloatArray

FINE = 32
"""Side of the comparison grid."""
DETAIL_ALIKE = 0.95
"""Threshold for the correlation of the detail of two overlaid pictures."""
SPARSE, SPARSE_ALIKE = 0.1, 0.985
"""If a smaller fraction of a picture than this has detail, such as a bird in the sky, the detail
must correlate this well."""
EVERYWHERE_ALIKE, FINEST_ALIKE = 0.85, 0.4
"""Thresholds for the correlation of the detail with all places equally weighted, and of the finest
detail. In noise with a bright bar, only the bar agrees: the noise differs in each picture."""
SMOOTHER, SMOOTHER_ALIKE = 1.5, 0.75
"""From this ratio of sharpness, one picture has lost its finest detail. Then the threshold for the
correlation with all places equally weighted."""
_GRID = FINE // 2
"""Side of the grid on which the pictures are aligned."""
_FARTHEST = 0.2
"""The largest shift (as a fraction of the side), rotation (in radians) and enlargement."""


class Agreement(NamedTuple):
    """How well two pictures agree."""

    in_place_M: FloatArray
    """Correlation of the coarse detail without alignment."""
    laid_on_M: FloatArray
    """Correlation of the fine detail after alignment; 0 if it was not worth trying."""
    sharper_M: FloatArray
    """The sharper picture's sharpness divided by the other's, at least 1."""
    spread_M: FloatArray
    """Fraction of the picture with detail, for the picture with less."""
    unmoved_M: FloatArray
    """Correlation of the fine detail without alignment."""
    everywhere_M: FloatArray
    """Correlation of the detail after alignment, with each place scaled to about the same strength,
    so a bright bar on noise counts no more than the noise."""
    finest_M: FloatArray
    """The same for the finest detail."""
    filled_M: FloatArray
    """Fraction of the picture that is not flat background, for the picture with more of it."""


def agreement(one_MGG: FloatArray, other_MGG: FloatArray) -> Agreement:
    """Compare grey pictures, given as means on a grid with ``FINE`` cells per side."""
    fine = one_MGG, other_MGG
    coarse = tuple(x.reshape(-1, _GRID, 2, _GRID, 2).mean(axis=(2, 4)) for x in fine)
    one_MGG, other_MGG = (detail(x, 0.7, 3) for x in coarse)
    soft = [_blurred(x, 1) for x in fine]
    fine_one, fine_other = (one - _blurred(x, 3) for one, x in zip(soft, fine, strict=True))
    finest = [x - one for one, x in zip(soft, fine, strict=True)]
    sharpness = [
        x.std(axis=(1, 2)) / np.maximum(detail.std(axis=(1, 2)), 1e-3)
        for x, detail in zip(finest, (fine_one, fine_other), strict=True)
    ]
    sharper_M = np.maximum(*sharpness) / np.maximum(np.minimum(*sharpness), 1e-3)
    spread_M = np.minimum(_spread(fine_one), _spread(fine_other))
    in_place_M, unmoved_M = correlation(one_MGG, other_MGG), correlation(fine_one, fine_other)
    laid_on_M, everywhere_M, finest_M = np.zeros((3, len(in_place_M)), np.float32)
    filled_M = np.minimum(*(_filled(x) for x in (fine_one, fine_other)))
    worth = np.flatnonzero(in_place_M >= 0.6)
    if len(worth):
        moves_M4, reached_M = _moves(one_MGG[worth], other_MGG[worth])
        close_M = reached_M >= 0.9
        worth, moves_M4 = worth[close_M], moves_M4[close_M]
    if len(worth):
        moves_M4 = moves_M4 * np.array([1, 1, 2.0, 2.0], np.float32)
        laid_on_M[worth] = _laid_on(fine_one[worth], fine_other[worth], moves_M4, border=2)[1]
        one, other = (_evened(x[worth], 1, 1.5) for x in (fine_one, fine_other))
        everywhere_M[worth] = _laid_on(one, other, moves_M4, border=2)[1]
        one, other = (_evened(x[worth], 2, 2) for x in finest)
        finest_M[worth] = _laid_on(one, other, moves_M4, border=2)[1]
    return Agreement(
        *(in_place_M, laid_on_M, sharper_M, spread_M),
        *(unmoved_M, everywhere_M, finest_M, filled_M),
    )


def is_same(compared: Agreement) -> npt.NDArray[np.bool_]:
    """Return whether the detail agrees after alignment. Sparse detail must agree better."""
    sparse_M = compared.spread_M < SPARSE
    least_M = np.where(sparse_M, SPARSE_ALIKE, DETAIL_ALIKE)
    same_M: npt.NDArray[np.bool_] = compared.laid_on_M >= least_M
    return same_M & same_everywhere(compared)


def same_everywhere(compared: Agreement) -> npt.NDArray[np.bool_]:
    """Return whether the detail agrees everywhere, not only where it is strong."""
    smoother_M = compared.sharper_M >= SMOOTHER
    least_M = np.where(smoother_M, SMOOTHER_ALIKE, EVERYWHERE_ALIKE)
    same_M: npt.NDArray[np.bool_] = compared.everywhere_M >= least_M
    return same_M & (smoother_M | (compared.finest_M >= FINEST_ALIKE))


def detail(grey_MGG: FloatArray, finest: float, coarsest: float) -> FloatArray:
    """Return what a blur by ``finest`` cells keeps and a blur by ``coarsest`` cells removes."""
    return _blurred(grey_MGG, finest) - _blurred(grey_MGG, coarsest)


def _blurred(grey_MGG: FloatArray, sigma: float) -> FloatArray:
    """Blur with a Gaussian that is cut off at the edges."""
    points = np.arange(grey_MGG.shape[1])
    shares_GG = np.exp(-((points[:, None] - points) ** 2) / (2 * sigma**2))
    shares_GG[shares_GG < 1e-12] = 0  # denormal numbers take a processor 20 times as long
    shares_GG = (shares_GG / shares_GG.sum(axis=1, keepdims=True)).astype(np.float32)
    blurred_MGG: FloatArray = shares_GG @ grey_MGG @ shares_GG.T
    return blurred_MGG


def _evened(detail_MGG: FloatArray, floor: float, sigma: float) -> FloatArray:
    """Divide by the local strength. What is fainter than ``floor`` grey levels stays small."""
    strength_MGG = np.sqrt(_blurred(detail_MGG**2, sigma) + floor**2)
    evened_MGG: FloatArray = detail_MGG / strength_MGG
    return evened_MGG


def _filled(detail_MGG: FloatArray) -> FloatArray:
    """Return the fraction of points with at least a grey level of detail nearby."""
    filled_M: FloatArray = (_blurred(detail_MGG**2, 1) > 1).mean(axis=(1, 2)).astype(np.float32)
    return filled_M


def _spread(detail_MGG: FloatArray) -> FloatArray:
    """Return the fraction of points that would hold all the energy if it were evenly spread."""
    energy_MP = (detail_MGG**2).reshape(len(detail_MGG), -1)
    parts_M: FloatArray = energy_MP.mean(axis=1) ** 2 / np.maximum(
        (energy_MP**2).mean(axis=1), 1e-6
    )
    return parts_M


def correlation(
    one_MGG: FloatArray, other_MGG: FloatArray, inside_MGG: FloatArray | None = None
) -> FloatArray:
    """Return the correlation over all points, or over those inside, M."""
    axes = tuple(range(1, one_MGG.ndim))
    if inside_MGG is None:
        inside_MGG = np.ones_like(one_MGG)
    points_M = np.maximum(inside_MGG.sum(axis=axes, keepdims=True), 1)
    one, other = (
        (x - (x * inside_MGG).sum(axis=axes, keepdims=True) / points_M) * inside_MGG
        for x in (one_MGG, other_MGG)
    )
    lengths_M = np.sqrt((one**2).sum(axis=axes) * (other**2).sum(axis=axes))
    found_M: FloatArray = (one * other).sum(axis=axes) / np.maximum(lengths_M, 1e-3)
    return found_M


def _moves(one_MGG: FloatArray, other_MGG: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how to align the second with the first, M×4 (enlargement, rotation, shift right and
    down in cells), and the correlation that this reaches.

    These are Gauss-Newton steps with the fixed gradients of the first picture (Baker and Matthews
    2004, the inverse compositional algorithm).
    """
    side = one_MGG.shape[1]
    y, x = _inner(side, 1)
    down_MP, right_MP = (g[:, 1:-1, 1:-1].reshape(len(g), -1) for g in _gradients(one_MGG))
    slopes_MP4 = np.stack(
        [right_MP * x + down_MP * y, down_MP * x - right_MP * y, right_MP, down_MP], axis=2
    )
    normal_M44 = slopes_MP4.swapaxes(1, 2) @ slopes_MP4
    size_M = np.trace(normal_M44, axis1=1, axis2=2)
    normal_M44 += np.eye(4) * (1e-4 * size_M[:, None, None] + 1e-3)
    steps_M4P = np.linalg.solve(normal_M44, slopes_MP4.swapaxes(1, 2)).astype(np.float32)
    limits = np.float32(_FARTHEST) * np.array([1, 1, side / 2, side / 2], np.float32)
    strength = [np.sqrt((g**2).mean(axis=(1, 2), keepdims=True)) for g in (one_MGG, other_MGG)]
    other_MGG = other_MGG * (strength[0] / np.maximum(strength[1], 1e-3))
    now_M4 = np.zeros((len(one_MGG), 4), np.float32)
    best_M4, reached_M = now_M4.copy(), np.full(len(one_MGG), -1, np.float32)
    for _ in range(7):
        error_MP, alike_M = _laid_on(one_MGG, other_MGG, now_M4, border=1)
        better_M = alike_M > reached_M
        best_M4[better_M], reached_M[better_M] = now_M4[better_M], alike_M[better_M]
        now_M4 = now_M4 - (steps_M4P @ error_MP[..., None])[..., 0]
        now_M4 = np.clip(now_M4, -limits, limits)
    return best_M4, reached_M


def _gradients(values_MGG: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the gradients downwards and to the right."""
    found: list[FloatArray] = list(np.gradient(values_MGG, axis=(1, 2)))
    return found[0], found[1]


def _inner(side: int, border: int) -> tuple[FloatArray, FloatArray]:
    """Return rows and columns of the points inside the border, relative to the middle, P each."""
    y, x = np.mgrid[border : side - border, border : side - border].reshape(2, -1)
    middle = np.float32((side - 1) / 2)
    return y.astype(np.float32) - middle, x.astype(np.float32) - middle


def _laid_on(
    one_MGG: FloatArray, other_MGG: FloatArray, moves_M4: FloatArray, border: int
) -> tuple[FloatArray, FloatArray]:
    """Return the difference at each inner point (0 where the moved picture has none), and the
    correlation over the remaining points."""
    side = one_MGG.shape[1]
    y, x = _inner(side, border)
    grow, turn, right, down = (moves_M4[:, k, None] for k in range(4))
    middle = np.float32((side - 1) / 2)
    column_MP = (1 + grow) * x - turn * y + right + middle
    row_MP = turn * x + (1 + grow) * y + down + middle
    inside_MP = (np.minimum(column_MP, row_MP) >= 0) & (np.maximum(column_MP, row_MP) <= side - 1)
    column_MP, row_MP = (np.clip(v, 0, np.float32(side - 1.001)) for v in (column_MP, row_MP))
    left_MP, top_MP = np.floor(column_MP), np.floor(row_MP)
    column_MP, row_MP = column_MP - left_MP, row_MP - top_MP
    at_MP = (top_MP * side + left_MP).astype(np.int64)
    at_MP += np.arange(len(one_MGG))[:, None] * side**2
    values = other_MGG.ravel()
    upper_MP, lower_MP = values.take(at_MP), values.take(at_MP + side)
    upper_MP += (values.take(at_MP + 1) - upper_MP) * column_MP
    lower_MP += (values.take(at_MP + side + 1) - lower_MP) * column_MP
    moved_MP = upper_MP + (lower_MP - upper_MP) * row_MP
    inner = slice(border, side - border)
    one_MP = one_MGG[:, inner, inner].reshape(len(one_MGG), -1)
    weights_MP = inside_MP.astype(np.float32)
    return (moved_MP - one_MP) * weights_MP, correlation(one_MP, moved_MP, weights_MP)
