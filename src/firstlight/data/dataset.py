"""The data set as a value.

Axes: N images, H height, W width, C channels (1 grey, 3 red-green-blue), K classes.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images in memory. Two data sets are equal when their fingerprints are.

    Raises ``ValueError`` when shapes, dtypes or labels do not fit together.
    """

    name: str
    """Where the images come from, e.g. ``mnist/test``."""
    images_NHWC: UInt8Array
    """uint8, 0 to 255, N×H×W×C with C = 1 or 3."""
    labels_N: Int64Array
    """int64, each 0 to K-1."""
    class_names: tuple[str, ...]
    """K names; a label is an index into them."""

    def __post_init__(self) -> None:
        images, labels = self.images_NHWC, self.labels_N
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(
                f"{self.name}: images must be uint8 N×H×W×C with 1 or 3 channels, "
                f"not {images.dtype} of shape {images.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != (len(images),):
            raise ValueError(
                f"{self.name}: labels must be int64 of shape ({len(images)},), "
                f"not {labels.dtype} of shape {labels.shape}"
            )
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.class_names)):
            raise ValueError(
                f"{self.name}: labels run from {labels.min()} to {labels.max()}, "
                f"but there are {len(self.class_names)} class names"
            )

    def __len__(self) -> int:
        return len(self.labels_N)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        n, h, w, c = self.images_NHWC.shape
        return f"Dataset({self.name!r}, {n} images {h}×{w}×{c}, {len(self.class_names)} classes)"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, h, w, c = self.images_NHWC.shape
        return h, w, c

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the shape, the class names, the pixels and the labels."""
        head = json.dumps([self.images_NHWC.shape, self.class_names]).encode()
        digest = hashlib.sha256(head)
        digest.update(np.ascontiguousarray(self.images_NHWC).data)
        digest.update(np.ascontiguousarray(self.labels_N).data)
        return digest.hexdigest()

    def take(self, indices: Int64Array, name: str | None = None) -> "Dataset":
        """The chosen images in the given order, as a new data set."""
        return Dataset(
            name=name or self.name,
            images_NHWC=self.images_NHWC[indices],
            labels_N=self.labels_N[indices],
            class_names=self.class_names,
        )


class TrainTest(NamedTuple):
    """The two halves of a published data set."""

    train: Dataset
    test: Dataset
