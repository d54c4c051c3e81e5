"""The data set as a value.

Axes: N images, H height, W width, C channels (1 grey, 3 red-green-blue), K classes.
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firstlight.checked import BETWEEN, class_names, joined_labels
from firstlight.data.stored import EncodedImages, ImagesOnDisk, at_once
from firstlight.errors import DataError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SHOWN_CLASSES, SHOWN_IMAGES = 10, 8
"""In a notebook, of a data set and of each of these classes."""


class Known(NamedTuple):
    """What was computed from a data set's pixels before; with gigabytes of them this takes a
    minute."""

    fingerprint: str
    content_order: list[int]
    level_counts: list[list[int]]
    pictures: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images in memory. Two data sets are equal if their fingerprints are.

    Each image has one label (``labels_N``), or any number of labels (``labels_NK``). Raises
    ``ValueError`` if shapes, dtypes or labels do not fit together, and ``DataError`` for a
    duplicate class name.
    """

    name: str
    """Where the images come from, e.g. ``mnist/test``."""
    images_NHWC: UInt8Array
    """uint8, 0 to 255, N×H×W×C with C = 1 or 3. In a set larger than memory, they are
    ``ImagesOnDisk``, which return an array for any index."""
    labels_N: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    """int64, each 0 to K-1. Empty if images may have several labels, so that code for single
    labels fails and does not give a wrong answer."""
    labels_NK: BoolArray | None = None
    """bool N×K: whether each image has each label, if images may have several labels or none."""
    class_names: tuple[str, ...]
    """K names; a label is an index into them."""
    names: tuple[str, ...] | None = None
    """The name of each image, such as its file's; without names, images are numbered."""
    groups_N: Int64Array | None = None
    """Images with the same number show the same thing and stay on one side of any split."""
    origins: tuple[bytes, ...] | None = None
    """If images were resized: for each one, 16 bytes that identify the original. They decide the
    content order, so a split is the same at every size. Not part of the fingerprint."""
    weights_N: npt.NDArray[np.float32] | None = None
    """The weight of each image's loss in training; None if all have the same weight. Not part of
    the fingerprint."""
    held_out_N: npt.NDArray[np.bool_] | None = None
    """In a training part: the images that the set's authors reserved for validation."""
    notes: tuple[str, ...] = ()
    """Messages for the user: what was left out or decided when the set was made."""
    warnings: tuple[str, ...] = ()
    """The notes about something that was left out or is wrong."""
    known: Known | None = field(default=None, repr=False)
    """For exactly these images in this order."""

    def __post_init__(self) -> None:
        class_names(self.class_names, self.name)
        images = self.images_NHWC
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(
                f"{self.name}: images must be uint8 N×H×W×C with 1 or 3 channels, "
                f"not {images.dtype} of shape {images.shape}"
            )
        if self.labels_NK is None:
            self._check_labels()
        else:
            self._check_several(self.labels_NK)
        for beside in (
            *(self.names, self.groups_N, self.origins),
            *(self.weights_N, self.held_out_N),
        ):
            if beside is not None and len(beside) != len(images):
                raise ValueError(f"{self.name}: {len(beside)} entries for {len(images)} images")

    def _check_labels(self) -> None:
        images, labels = self.images_NHWC, self.labels_N
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

    def _check_several(self, labels_NK: BoolArray) -> None:
        wanted = (len(self.images_NHWC), len(self.class_names))
        if labels_NK.dtype != np.bool_ or labels_NK.shape != wanted or len(self.labels_N):
            raise ValueError(
                f"{self.name}: labels_NK must be bool of shape {wanted}, without labels_N; got "
                f"{labels_NK.dtype} of shape {labels_NK.shape}"
            )
        strange = next((name for name in self.class_names if BETWEEN in name), None)
        if strange is not None:
            raise DataError(
                f"{self.name}: the label {strange[:60]!r} contains {BETWEEN!r}, which separates "
                "labels. Rename it"
            )

    def __len__(self) -> int:
        return len(self.images_NHWC)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        n, h, w, c = self.images_NHWC.shape
        return (
            f"Dataset({self.name!r}, {n} images {h}×{w}×{c}, {len(self.class_names)} {self._kinds})"
        )

    def _repr_html_(self) -> str:
        from firstlight import cells

        count, height, width, channels = self.images_NHWC.shape
        rows = []
        for label, name in enumerate(self.class_names[:SHOWN_CLASSES]):
            has_N = self.labels_N == label if self.labels_NK is None else self.labels_NK[:, label]
            which = np.flatnonzero(has_N)
            images_NHWC = np.asarray(self.images_NHWC[which[:SHOWN_IMAGES]])
            pictures = cells.strip(images_NHWC, f"{len(images_NHWC)} images of {name}")
            rows.append((cells.text(name, 30), f"{len(which):,}", pictures))
        colours = "grey" if channels == 1 else "colour"
        kinds = self._kinds
        lead = f"{count:,} images, {height}×{width}, {colours}, {len(self.class_names):,} {kinds}"
        more = len(self.class_names) - len(rows)
        return cells.block(
            self.name,
            cells.note(lead),
            cells.table(("label" if self.several else "class", "images", ""), rows, right=(1,)),
            cells.note(f"and {more:,} more {kinds}") if more > 0 else "",
        )

    @property
    def several(self) -> bool:
        """Whether images may have several labels."""
        return self.labels_NK is not None

    @property
    def _kinds(self) -> str:
        return "labels" if self.several else "classes"

    @property
    def each_label(self) -> Int64Array | BoolArray:
        """The labels of each image: ``labels_NK`` if there may be several, else ``labels_N``."""
        return self.labels_N if self.labels_NK is None else self.labels_NK

    def has(self, label: int) -> BoolArray:
        """Whether each image has this label, bool N."""
        return self.labels_N == label if self.labels_NK is None else self.labels_NK[:, label]

    def counts(self, rows: Int64Array | slice = slice(None)) -> Int64Array:
        """How many of these images have each label, int64 K."""
        if self.labels_NK is not None:
            counts_K: Int64Array = self.labels_NK[rows].sum(axis=0, dtype=np.int64)
            return counts_K
        return np.bincount(self.labels_N[rows], minlength=len(self.class_names))

    def label_of(self, row: int) -> str:
        """The name of an image's label; several names are joined."""
        if self.labels_NK is None:
            return self.class_names[int(self.labels_N[row])]
        return joined_labels(self.class_names[k] for k in np.flatnonzero(self.labels_NK[row]))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, h, w, c = self.images_NHWC.shape
        return h, w, c

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the shape, the class names, the pixels and the labels."""
        if self.known is not None:
            return self.known.fingerprint
        if (shards := self.shards) is not None:
            return self._fingerprint_of(shards)
        head = json.dumps([self.images_NHWC.shape, self.class_names]).encode()
        digest = hashlib.sha256(head)
        step = at_once(self.image_shape)
        for start in range(0, len(self), step):
            digest.update(np.ascontiguousarray(self.images_NHWC[start : start + step]).data)
        digest.update(np.ascontiguousarray(self.each_label).data)
        return digest.hexdigest()

    @property
    def shards(self) -> EncodedImages | None:
        """The images, if they are decoded on demand."""
        images: object = self.images_NHWC
        return images if isinstance(images, EncodedImages) else None

    def _fingerprint_of(self, shards: EncodedImages) -> str:
        """SHA-256 (hex) of the shape, the class names, the images' files, the shard of each image,
        and the labels."""
        digest = hashlib.sha256(json.dumps([shards.shape, self.class_names]).encode())
        digest.update(shards.digests.astype(">u8").tobytes())
        _, shard_N = np.unique(shards.shard_of, return_inverse=True)
        digest.update(shard_N.astype(np.int32).tobytes())
        digest.update(np.ascontiguousarray(self.each_label).data)
        return digest.hexdigest()

    @cached_property
    def content_order(self) -> Int64Array:
        """Image numbers in an order that depends only on pixels, before any resizing, and labels.
        For images in shards, it is their order in the shards."""
        if self.shards is not None:
            return np.arange(len(self))
        if self.known is not None:
            return np.array(self.known.content_order, dtype=np.int64)
        high_N, low_N = self._keys.T
        last = (self.labels_N,) if self.labels_NK is None else tuple(self.labels_NK.T)
        return np.lexsort((*last, low_N, high_N))

    @cached_property
    def pictures(self) -> str:
        """SHA-256 (hex) of the shape and the pixels in content order: independent of the images'
        order and labels."""
        if self.known is not None and self.known.pictures:
            return self.known.pictures
        high_N, low_N = self._keys.T
        whole = hashlib.sha256(json.dumps(self.images_NHWC.shape).encode())
        whole.update(self._digests[np.lexsort((low_N, high_N))].tobytes())
        return whole.hexdigest()

    @property
    def _keys(self) -> npt.NDArray[np.uint64]:
        """16 bytes for each image, which decide the content order."""
        if self.origins is None:
            return self._digests
        return np.frombuffer(b"".join(self.origins), dtype=">u8").reshape(-1, 2)

    @cached_property
    def _digests(self) -> npt.NDArray[np.uint64]:
        """A digest of 16 bytes of each image's pixels, ordered as bytes; for images in shards, of
        their files."""
        if self.shards is not None:
            return self.shards.digests
        digests = bytearray()
        step = at_once(self.image_shape)
        for start in range(0, len(self), step):
            for image_HWC in np.ascontiguousarray(self.images_NHWC[start : start + step]):
                digests += hashlib.blake2b(image_HWC.data, digest_size=16).digest()
        return np.frombuffer(digests, dtype=">u8").reshape(-1, 2)

    @cached_property
    def level_counts(self) -> Int64Array:
        """The number of pixels with each level, int64 C×256; for images in shards, in a sample."""
        if self.known is not None:
            return np.array(self.known.level_counts, dtype=np.int64)
        from PIL import Image  # counts ten times faster than numpy.bincount

        _, width, channels = self.image_shape
        counts = np.zeros(channels * 256, np.int64)
        images_NHWC = self.images_NHWC if self.shards is None else self.shards.sample()
        for start in range(0, len(images_NHWC), 256):
            part_NHWC = images_NHWC[start : start + 256]
            shape = (-1, width, channels) if channels == 3 else (-1, width)
            counts += Image.fromarray(part_NHWC.reshape(shape)).histogram()
        return counts.reshape(channels, 256)

    def some(self, count: int) -> UInt8Array:
        """About ``count`` images, evenly spaced; for images in shards, from a sample."""
        images_NHWC = self.images_NHWC if self.shards is None else self.shards.sample()
        return np.asarray(images_NHWC[:: max(1, len(images_NHWC) // count)])

    def take(self, indices: Int64Array, name: str | None = None) -> "Dataset":
        """A new data set of the images with these numbers, in this order."""
        images = self.images_NHWC
        return Dataset(
            name=name or self.name,
            images_NHWC=images.take(indices)
            if isinstance(images, ImagesOnDisk)
            else images[indices],
            labels_N=self.labels_N if self.several else self.labels_N[indices],
            labels_NK=None if self.labels_NK is None else self.labels_NK[indices],
            class_names=self.class_names,
            names=None if self.names is None else tuple(self.names[i] for i in indices.tolist()),
            groups_N=None if self.groups_N is None else self.groups_N[indices],
            origins=None
            if self.origins is None
            else tuple(self.origins[i] for i in indices.tolist()),
            weights_N=None if self.weights_N is None else self.weights_N[indices],
            held_out_N=None if self.held_out_N is None else self.held_out_N[indices],
            notes=self.notes,
            warnings=self.warnings,
        )


class TrainTest(NamedTuple):
    """The training part and the test part of a data set."""

    train: Dataset
    """For training; held-out images are taken from it."""
    test: Dataset
    """For the final measurement."""

    def _repr_html_(self) -> str:
        return self.train._repr_html_() + self.test._repr_html_()
