"""Choose held-out images by the bytes of their files, without decoding them.

Identical files stay together. Near duplicates do not: finding them would take decoding all images.
Axes: N images, G groups of identical files, K classes.
"""

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


def chosen_by_digest(
    digests_N2: npt.NDArray[np.uint64], labels_N: Int64Array, share: float
) -> npt.NDArray[np.bool_]:
    """Return which images are chosen, N: about ``share`` of each class, those with the smallest
    digests. The order of the images and their shards do not matter. Each class keeps at least one
    image."""
    high_N, low_N = digests_N2.T
    order_N = np.lexsort((labels_N, low_N, high_N))
    sorted_N2 = digests_N2[order_N]
    first_N = np.ones(len(order_N), dtype=bool)
    first_N[1:] = (sorted_N2[1:] != sorted_N2[:-1]).any(axis=1)
    group_N = first_N.cumsum() - 1
    sizes_G = np.bincount(group_N)
    labels_G = labels_N[order_N][first_N]  # of files with two labels, the smaller one
    totals_K = np.bincount(labels_G, weights=sizes_G).astype(np.int64)
    wanted_K = np.minimum(np.maximum(1, np.round(share * totals_K)), totals_K - 1)
    # A file with very many copies would take the place of all others.
    fits_G = sizes_G <= np.maximum(1, wanted_K[labels_G])
    by_class_G = np.argsort(labels_G, kind="stable")
    counted_G = np.where(fits_G, sizes_G, 0)[by_class_G]
    classes_G = labels_G[by_class_G]
    ends_G = counted_G.cumsum()
    starts_K = np.searchsorted(classes_G, np.arange(len(totals_K)))
    before_K = np.concatenate([[0], ends_G])[starts_K]
    taken_G = np.zeros(len(sizes_G), dtype=bool)
    taken_G[by_class_G] = ends_G - before_K[classes_G] <= wanted_K[classes_G]
    taken_G &= fits_G & (wanted_K[labels_G] > 0)
    chosen_N = np.zeros(len(order_N), dtype=bool)
    chosen_N[order_N] = taken_G[group_N]
    return chosen_N
