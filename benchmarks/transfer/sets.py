"""Small sets cut from named ones: so many training images of each class, drawn by a seed."""

from pathlib import Path

import numpy as np

import firstlight as fl
from firstlight.data.split import limit

TESTED = 500
"""Test images, the same for every seed and side."""
SETS = {
    "cifar10-10": ("cifar10", 10),
    "cifar10-25": ("cifar10", 25),
    "cifar10-100": ("cifar10", 100),
    "cifar10-500": ("cifar10", 500),
    "fashion_mnist-20": ("fashion_mnist", 20),
    "mnist-20": ("mnist", 20),
}
"""By name: the set, and training images of each class."""


def write(name: str, seed: int, path: Path) -> None:
    """The set as ``.npz``, for every side."""
    of, count = SETS[name]
    train, test = fl.load(of)
    rng = np.random.default_rng(seed)
    rows_M = np.concatenate(
        [
            rng.permutation(np.flatnonzero(train.labels_N == label))[:count]
            for label in range(len(train.class_names))
        ]
    )
    tested = limit(test, TESTED)
    np.savez(
        path,
        train_images=train.images_NHWC[rows_M],
        train_labels=train.labels_N[rows_M],
        test_images=tested.images_NHWC,
        test_labels=tested.labels_N,
    )
