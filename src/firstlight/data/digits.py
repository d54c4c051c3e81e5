"""The embedded digits: 1,797 real scans that come with scikit-learn."""

import numpy as np

from firstlight.data.catalog import EMBEDDED_DIGITS
from firstlight.data.dataset import Dataset, TrainTest


def load_digits() -> TrainTest:
    """8×8 grey images; the test images are the last 360, by other writers than most of the rest."""
    from sklearn import datasets

    entry = EMBEDDED_DIGITS
    scans = datasets.load_digits()
    # The scans count 0 to 16 dark pixels in each 4×4 block.
    images_NHWC = np.rint(scans.images * (255 / 16)).astype(np.uint8)[..., None]
    labels_N = scans.target.astype(np.int64)

    def part(name: str, where: slice) -> Dataset:
        return Dataset(
            name=f"{entry.name}/{name}",
            images_NHWC=images_NHWC[where].copy(),
            labels_N=labels_N[where].copy(),
            class_names=entry.class_names,
        )

    cut = entry.train_count
    return TrainTest(part("train", slice(0, cut)), part("test", slice(cut, None)))
