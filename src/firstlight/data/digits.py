"""The embedded digits: 1,797 real scans, which scikit-learn also contains.

``digits.csv.gz`` has a row for each scan: 64 counts of dark pixels and the digit. E. Alpaydin and
C. Kaynak published them (doi:10.24432/C50P49) under the licence CC BY 4.0,
https://creativecommons.org/licenses/by/4.0/; the numbers are unchanged.
"""

from pathlib import Path

import numpy as np

from firstlight.data.dataset import Int64Array, UInt8Array

FILE = Path(__file__).with_name("digits.csv.gz")
TRAIN_COUNT = 1_437


def read_digits() -> dict[str, tuple[UInt8Array, Int64Array]]:
    """Return the 8×8 grey images. The test images are the last 360, mostly by other writers."""
    scans = np.loadtxt(FILE, dtype=np.int64, delimiter=",")
    # The scans count 0 to 16 dark pixels in each 4×4 block.
    images_NHWC = np.rint(scans[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels_N = scans[:, 64]
    parts = {"train": slice(0, TRAIN_COUNT), "test": slice(TRAIN_COUNT, None)}
    return {name: (images_NHWC[at].copy(), labels_N[at].copy()) for name, at in parts.items()}
