"""Small sets cut from named ones: so many training images of each class, drawn by a seed."""

import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

import firstlight as fl
from firstlight.data.split import limit

sys.path.append(str(Path(__file__).resolve().parents[2]))
from tests.data.photographs import CHECK, KINDS, photograph

TESTED = 500
"""Number of test images, the same for every seed and side."""
SETS = {
    "cifar10-10": ("cifar10", 10),
    "cifar10-25": ("cifar10", 25),
    "cifar10-100": ("cifar10", 100),
    "cifar10-500": ("cifar10", 500),
    "fashion_mnist-20": ("fashion_mnist", 20),
    "mnist-20": ("mnist", 20),
    "paper-20": ("mnist", 20),
}
"""By name: the set, and training images of each class."""
PAPERS = ("blank", "ruled", "squared", "thin pen", "dark frame", "table edge")
SIDE = 128
"""Side of a photograph of paper, in pixels."""


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
    images_MHWC, tested_NHWC = train.images_NHWC[rows_M], tested.images_NHWC
    if name.startswith("paper"):
        images_MHWC = on_paper(images_MHWC, rng)
        tested_NHWC = on_paper(tested_NHWC, np.random.default_rng(TESTED))
    np.savez(
        path,
        train_images=images_MHWC,
        train_labels=train.labels_N[rows_M],
        test_images=tested_NHWC,
        test_labels=tested.labels_N,
    )


def on_paper(digits_NHWC: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return digits as photographs of pen on paper, uint8 N×128×128×3."""
    found = []
    for at, digit_HWC in enumerate(digits_NHWC):
        kind = KINDS[PAPERS[at % len(PAPERS)]]
        content = photograph(digit_HWC[..., 0], kind, CHECK, rng)
        square = ImageOps.fit(Image.open(io.BytesIO(content)), (SIDE, SIDE))
        found.append(np.asarray(square.convert("RGB")))
    return np.stack(found)
