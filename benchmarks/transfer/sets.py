"""Small sets, drawn by a seed: images of named sets, or photographs of three folders.

Each folder has one folder of pictures per class, perhaps below ``train`` and ``val``, and lies in
``FIRSTLIGHT_DATA`` under the name that ``PHOTOGRAPHS`` gives. Public addresses:

    hymenoptera_data  https://download.pytorch.org/tutorial/hymenoptera_data.zip
    dataset-resized   https://github.com/garythung/trashnet (data/dataset-resized.zip)
    sign_digits       https://github.com/ardamavi/Sign-Language-Digits-Dataset (Dataset)
"""

import io
import os
import shutil
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
PHOTOGRAPHS = {
    "ants-bees": "hymenoptera_data",
    "waste": "dataset-resized",
    "hand-signs": "sign_digits",
}
"""By name: the folder. A fifth of each class is for testing."""
PAPERS = ("blank", "ruled", "squared", "thin pen", "dark frame", "table edge")
SIDE = 128
"""Side of a photograph of paper, in pixels."""


def write(name: str, seed: int, folder: Path) -> Path:
    """The set, for every side: an ``.npz``, or a folder with ``train`` and ``test``."""
    made = folder / name
    if name in PHOTOGRAPHS:
        part(Path(os.environ["FIRSTLIGHT_DATA"]) / PHOTOGRAPHS[name], seed, made)
        return made
    made = made.with_suffix(".npz")
    draw(name, seed, made)
    return made


def part(photographs: Path, seed: int, made: Path) -> None:
    """Copy a fifth of each class to ``test``, drawn by the seed, and the others to ``train``."""
    rng = np.random.default_rng(seed)
    classes: dict[str, list[Path]] = {}
    for picture in sorted(photographs.rglob("*.[jJ][pP]*[gG]")):
        classes.setdefault(picture.parent.name, []).append(picture)
    for name, pictures in classes.items():
        order = rng.permutation(len(pictures))
        tested = len(pictures) // 5
        for into, chosen in (("test", order[:tested]), ("train", order[tested:])):
            (made / into / name).mkdir(parents=True)
            for at in chosen:
                # A number, as the same file name can be in ``train`` and ``val``.
                shutil.copy(pictures[at], made / into / name / f"{at}{pictures[at].suffix}")


def draw(name: str, seed: int, path: Path) -> None:
    """So many training images of each class of a named set, and its test images."""
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
