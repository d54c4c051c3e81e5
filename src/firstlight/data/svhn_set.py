"""SVHN's cropped digits: a MATLAB file for each part, with the arrays ``X`` and ``y``.

``X`` is H×W×C×N, uint8; ``y`` is N×1, where 1 to 9 are themselves and 10 is the digit 0.
"""

from pathlib import Path

import numpy as np

from firstlight.data.entry import Arrays, Entry
from firstlight.data.exact import from_zero
from firstlight.errors import DataError


def read_svhn(path: Path, entry: Entry, count: int) -> Arrays:
    """Read images N×H×W×C and labels N of one part. Raises ``DataError``."""
    from firstlight.data.packed import named_arrays

    shape, classes = entry.image_shape, len(entry.class_names)
    # Labels have one byte, or eight if a program has saved them again.
    arrays = named_arrays(path, ("X", "y"), count * (int(np.prod(shape)) + 8))
    images_HWCN, labels_N = arrays["X"], arrays["y"].reshape(-1)
    if images_HWCN.dtype != np.uint8 or images_HWCN.shape != (*shape, count):
        wanted = "×".join(map(str, (*shape, count)))
        raise DataError(
            f"{path}: wanted X of uint8 {wanted}, got {images_HWCN.dtype} of shape "
            f"{images_HWCN.shape}"
        )
    if len(labels_N) != count:
        raise DataError(f"{path}: wanted y with {count:,} labels, got {len(labels_N):,}")
    digits_N = (from_zero(labels_N, range(1, classes + 1), path) + 1) % classes
    return np.ascontiguousarray(np.moveaxis(images_HWCN, -1, 0)), digits_N
