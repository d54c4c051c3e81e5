"""The embedded digits: 1,797 real scans that come with scikit-learn."""

import numpy as np

from firstlight.data.dataset import Int64Array, UInt8Array

TRAIN_COUNT = 1_437


def read_digits() -> dict[str, tuple[UInt8Array, Int64Array]]:
    """8×8 grey images; the test images are the last 360, by other writers than most of the rest."""
    from sklearn import datasets

    scans = datasets.load_digits()
    # The scans count 0 to 16 dark pixels in each 4×4 block.
    images_NHWC = np.rint(scans.images * (255 / 16)).astype(np.uint8)[..., None]
    labels_N = scans.target.astype(np.int64)
    parts = {"train": slice(0, TRAIN_COUNT), "test": slice(TRAIN_COUNT, None)}
    return {name: (images_NHWC[at].copy(), labels_N[at].copy()) for name, at in parts.items()}
