"""What tests share: the outcome of a command, and a small data set with a known answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstlight.data.dataset import Dataset, TrainTest


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def striped(count: int = 60, size: int = 8) -> TrainTest:
    """Grey images with a bright row (class "row") or a bright column (class "column")."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("train", "test"):
        images_NHWC = rng.integers(0, 60, (count, size, size, 1), dtype=np.uint8)
        labels_N = np.arange(count, dtype=np.int64) % 2
        for image_HWC, label in zip(images_NHWC, labels_N, strict=True):
            place = rng.integers(1, size - 1)
            image_HWC[(place, slice(None)) if label == 0 else (slice(None), place)] = 250
        parts.append(
            Dataset(
                name=f"stripes/{name}",
                images_NHWC=images_NHWC,
                labels_N=labels_N,
                class_names=("row", "column"),
            )
        )
    return TrainTest(*parts)
