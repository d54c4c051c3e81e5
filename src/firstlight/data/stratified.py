"""Split images with several labels into parts with about the same share of each label.

Iterative stratification (K. Sechidis, G. Tsoumakas and I. Vlahavas: On the Stratification of
Multi-Label Data. ECML PKDD 2011, algorithm 1). It distributes groups that stay together instead of
single images, and breaks ties by the groups' order instead of by chance. Axes: G groups, K labels,
P parts.
"""

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


def stratified(counts_GK: Int64Array, sizes_G: Int64Array, shares_P: Float64Array) -> Int64Array:
    """Return the part of each group, int64 G.

    ``counts_GK`` says how many images of a group have each label, ``sizes_G`` how many images it
    has, and ``shares_P`` add up to 1. Having no label counts as a label. The label with the fewest
    images left comes first. Each group with it goes to the part that lacks most of this label, then
    to the one that lacks most images, then to the last. Each part wants at least one image of a
    label that two images have.
    """
    none_G = sizes_G * (counts_GK.sum(axis=1) == 0)
    counts_GK = np.column_stack([counts_GK, none_G])
    totals_K = counts_GK.sum(axis=0)
    wanted_PK = shares_P[:, None] * totals_K
    two_K = totals_K >= 2
    wanted_PK[:, two_K] = np.maximum(wanted_PK, 1.0)[:, two_K]
    lacking_P = shares_P * sizes_G.sum()
    part_G = np.full(len(sizes_G), -1)
    while (left := np.flatnonzero(part_G < 0)).size:
        left_K = counts_GK[left].sum(axis=0)
        label = int(np.where(left_K > 0, left_K, np.iinfo(np.int64).max).argmin())
        for group in left[counts_GK[left, label] > 0].tolist():
            order_P = np.lexsort((np.arange(len(shares_P)), lacking_P, wanted_PK[:, label]))
            part = int(order_P[-1])
            part_G[group] = part
            wanted_PK[part] -= counts_GK[group]
            lacking_P[part] -= sizes_G[group]
    return part_G
