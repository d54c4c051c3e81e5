"""Pictures made from one another: turned, mirrored, shifted, cropped, blurred, resized, compressed.

Each picture is described by the low frequencies of its brightness and colours. What all pictures
of the set share gets little weight. Two pictures whose descriptions match, under one of the eight
symmetries of a square, are overlaid and compared in detail.

Axes: N images, H height, W width, C channels, F frequencies, D values of a description,
M pairs, G side of a grid, P points of it.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from firstlight.data.described import TURNS, Int64Array, described, turns_of_descriptions, waves_of
from firstlight.data.duplicates import MOST_EACH, FloatArray, Pairs, UInt8Array, cells, grey
from firstlight.data.laid_on import (
    FINE,
    Agreement,
    agreement,
    correlation,
    is_same,
    same_everywhere,
)
from firstlight.data.stored import StoredImages
from firstlight.threads import usable_threads

DESCRIBED_ALIKE = 0.7
"""Pairs are compared further from this product of their descriptions. It finds 8 of 10 CIFAR-10
photographs that were rotated by 5° or cropped to 90 %, and nearly all copies altered otherwise. Of
unrelated pairs, 6 in 100,000 reach it."""
BLURRED, BLURRED_ALIKE = 1.25, (0.93, 0.91)
"""If one picture is this many times as sharp, the other was blurred. Then the thresholds of the
descriptions' product and of the coarse detail's correlation."""
NEARLY_ALIKE = 0.85
"""From here to ``DETAIL_ALIKE``, two pictures are similar but not copies."""
MOST_LOOKALIKES = 0.1
"""In a set with more similar pairs per picture than this, look-alikes cannot be told from
copies."""
TURNED_ALIKE = 0.99
"""The threshold for the correlation of all pixels in such a set, for example of handwritten
digits."""
FILLED, BETTER_MOVED = 0.93, 0.04
"""A picture with detail in a smaller part, such as a drawing, must match in place: the same object
elsewhere on a flat background is no sign of a copy. 9 of 10 CIFAR-10 photographs have more
detail."""
_ROWS, _COLUMNS = 500, 4096
_PAIRS = 64  # so few that what is computed of them stays in the processor's cache
_SAMPLE, _SAMPLE_PAIRS = 250, 4000
_MOST_THREADS = 8  # to save memory: each needs about 50 MB
_EACH_LOOKALIKE = 5


class _Candidates(NamedTuple):
    """Pairs with matching descriptions."""

    i_M: Int64Array
    j_M: Int64Array
    turn_M: Int64Array
    """The index into ``TURNS`` of the symmetry that maps i to j."""
    alike_M: FloatArray

    def take(self, which: Int64Array | npt.NDArray[np.bool_] | slice) -> "_Candidates":
        return _Candidates(
            self.i_M[which], self.j_M[which], self.turn_M[which], self.alike_M[which]
        )


def altered_copies(images_NHWC: UInt8Array | StoredImages) -> Pairs:
    """Return the sorted pairs (i, j), i < j, of which one was made from the other; at most about
    ``MOST_EACH`` for each i.

    This finds quarter turns and mirror images. Among ordinary photographs, it finds nearly all that
    were recompressed, resized or blurred, and most that were shifted by a pixel, rotated by 5° or
    cropped to 90 %. If a picture is mostly flat background, only copies in place count, including
    quarter turns and mirror images. In a set of naturally similar pictures, only quarter turns and
    mirror images count that match nearly to the pixel. The time grows with N²: about 20 seconds on
    one core for 50,000 pictures.
    """
    waves_NCFF, faint_N = waves_of(images_NHWC)
    numbers_N = np.flatnonzero(~faint_N)
    if len(numbers_N) < 2:
        return []
    described_ND = described(waves_NCFF[numbers_N])
    least, lookalikes = _judged(images_NHWC, described_ND, numbers_N)

    def of_rows(start: int) -> Pairs:
        some = _of_rows(described_ND, numbers_N, start, least)
        if lookalikes:
            some = some.take(some.turn_M > 0)
            some = some.take(_same_pixels(images_NHWC, some))
            some = some.take(same_everywhere(_compared(images_NHWC, some)))
        else:
            some = some.take(_is_copy(some, _compared(images_NHWC, some)))
        return list(zip(some.i_M.tolist(), some.j_M.tolist(), strict=True))

    # With two threads for each small product, they wait for each other longer than they compute.
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(min(usable_threads(), _MOST_THREADS)) as pool,
    ):
        found = pool.map(of_rows, range(0, len(described_ND), _ROWS))
        return sorted({pair for pairs in found for pair in pairs})


def _judged(
    images_NHWC: UInt8Array | StoredImages, described_ND: FloatArray, numbers_N: Int64Array
) -> tuple[float, bool]:
    """Return the threshold for candidates, and whether the set's pictures are naturally similar.

    They are if similar pairs are many and outnumber the copies. Each picture has few copies, even
    if many pictures have some, but look-alikes come in all degrees of similarity.
    """
    rows_R = np.unique(np.linspace(0, len(described_ND) - 1, _SAMPLE).astype(np.int64))
    parts = []
    for first in range(0, len(described_ND), _COLUMNS):
        some = _candidates(described_ND, rows_R, first, DESCRIBED_ALIKE)
        parts.append(some.take(some.i_M != some.j_M))
    sample = _joined(parts)
    count = len(sample.i_M)
    if not count:
        return DESCRIBED_ALIKE, False
    some = sample.take(np.linspace(0, count - 1, min(count, _SAMPLE_PAIRS)).astype(np.int64))
    some = some._replace(i_M=numbers_N[some.i_M], j_M=numbers_N[some.j_M])
    compared = _compared(images_NHWC, some)
    copies_M = _is_copy(some, compared)
    nearly_M = ~copies_M & (compared.laid_on_M >= NEARLY_ALIKE)
    # Each pair is in the sample twice, once for each of its pictures.
    nearly = nearly_M.mean() * count / len(rows_R) / 2
    lookalikes = bool(nearly > MOST_LOOKALIKES and nearly_M.sum() > copies_M.sum())
    most = 2 * (_EACH_LOOKALIKE if lookalikes else MOST_EACH) * len(rows_R)
    if count <= most:
        return DESCRIBED_ALIKE, lookalikes
    return float(np.sort(sample.alike_M)[-most]), lookalikes


def _of_rows(
    described_ND: FloatArray, numbers_N: Int64Array, start: int, least: float
) -> _Candidates:
    """Return the pairs of ``_ROWS`` images from ``start`` on with later images, by the images'
    numbers; for each i the most similar ones."""
    rows_R = np.arange(start, min(start + _ROWS, len(described_ND)))
    parts = []
    for first in range(start, len(described_ND), _COLUMNS):
        some = _candidates(described_ND, rows_R, first, least)
        parts.append(some.take(some.i_M < some.j_M))
    block = _joined(parts)
    block = block.take(np.lexsort((-block.alike_M, block.i_M)))
    place_M = np.arange(len(block.i_M)) - np.searchsorted(block.i_M, block.i_M)
    block = block.take(place_M < MOST_EACH)
    return block._replace(i_M=numbers_N[block.i_M], j_M=numbers_N[block.j_M])


def _candidates(
    described_ND: FloatArray, rows_R: Int64Array, first: int, least: float
) -> _Candidates:
    """Return the candidates among these rows and ``_COLUMNS`` images from ``first`` on, under each
    turn."""
    rows_RD, columns_ND = described_ND[rows_R], described_ND[first : first + _COLUMNS]
    products_RN = np.empty((len(rows_R), len(columns_ND)), np.float32)
    parts = []
    for turn, (places_D, signs_D) in enumerate(turns_of_descriptions(described_ND.shape[1])):
        np.dot(rows_RD[:, places_D] * signs_D, columns_ND.T, out=products_RN)
        at_M = np.flatnonzero(products_RN >= least)
        i_M, j_M = np.divmod(at_M, len(columns_ND))
        turn_M = np.full(len(at_M), turn, np.int64)
        parts.append(_Candidates(rows_R[i_M], j_M + first, turn_M, products_RN.ravel()[at_M]))
    return _joined(parts)


def _joined(parts: list[_Candidates]) -> _Candidates:
    return _Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _is_copy(some: _Candidates, compared: Agreement) -> npt.NDArray[np.bool_]:
    described, coarse = BLURRED_ALIKE
    blurred_M = (some.alike_M >= described) & (compared.in_place_M >= coarse)
    blurred_M &= compared.sharper_M >= BLURRED
    copy_M: npt.NDArray[np.bool_] = is_same(compared) | (blurred_M & same_everywhere(compared))
    in_place_M = compared.unmoved_M >= compared.laid_on_M - BETTER_MOVED
    copy_M &= (compared.filled_M >= FILLED) | in_place_M
    return copy_M


def _compared(images_NHWC: UInt8Array | StoredImages, some: _Candidates) -> Agreement:
    parts = [
        agreement(*_pair(images_NHWC, some.take(slice(at, at + _PAIRS))))
        for at in range(0, len(some.i_M), _PAIRS)
    ]
    empty = Agreement(*(np.empty(0, np.float32) for _ in Agreement._fields))
    return Agreement(*(np.concatenate(columns) for columns in zip(empty, *parts, strict=True)))


def _same_pixels(
    images_NHWC: UInt8Array | StoredImages, some: _Candidates
) -> npt.NDArray[np.bool_]:
    """Return whether the whole pictures correlate without a shift."""
    same_M = np.zeros(len(some.i_M), bool)
    for at in range(0, len(same_M), _PAIRS):
        which = np.arange(at, min(at + _PAIRS, len(same_M)))
        one_MGG, other_MGG = _pair(images_NHWC, some.take(which))
        same_M[which] = correlation(one_MGG, other_MGG) >= TURNED_ALIKE
    return same_M


def _pair(
    images_NHWC: UInt8Array | StoredImages, some: _Candidates
) -> tuple[FloatArray, FloatArray]:
    """Return grey means of both pictures on a fine grid, M×G×G, the first turned to match the
    second."""
    which, places = np.unique(np.stack([some.i_M, some.j_M]), return_inverse=True)
    rows_GH, columns_GW = (cells(side, FINE) for side in images_NHWC.shape[1:3])
    fine_NGG = (rows_GH @ grey(images_NHWC[which]) @ columns_GW.T).astype(np.float32)
    i_M, j_M = places.reshape(2, -1)
    one_MGG = fine_NGG[i_M]
    for turn, (swap, rows, columns) in enumerate(TURNS):
        of_M = some.turn_M == turn
        turned = one_MGG[of_M].swapaxes(1, 2) if swap else one_MGG[of_M]
        one_MGG[of_M] = turned[:, :: -1 if rows else 1, :: -1 if columns else 1]
    return one_MGG, fine_NGG[j_M]
