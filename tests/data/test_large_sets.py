"""Data sets of many large images are processed a few images at a time."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from firstlight.data.altered import altered_copies
from firstlight.data.dataset import Dataset
from firstlight.data.duplicates import near_copies
from firstlight.data.stored import StoredImages, at_once

UInt8Array = npt.NDArray[np.uint8]
SIDE, COUNT = 224, 300


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> StoredImages:
    """Create coarse pictures of 45 MB in total, 100 of them exact copies of others."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT - 100, 14, 14, 3), dtype=np.uint8)
    images_NHWC = coarse.repeat(16, axis=1).repeat(16, axis=2)
    images_NHWC = np.concatenate([images_NHWC, images_NHWC[:100]])
    file = tmp_path_factory.mktemp("pixels") / "pixels"
    file.write_bytes(images_NHWC.tobytes())
    return StoredImages(file, (COUNT, SIDE, SIDE, 3))


def as_set(images_NHWC: StoredImages) -> Dataset:
    return Dataset(
        name="pictures",
        images_NHWC=cast(UInt8Array, images_NHWC),
        labels_N=np.arange(COUNT, dtype=np.int64) % 2,
        class_names=("a", "b"),
    )


@pytest.mark.parametrize(
    "look",
    [
        near_copies,
        altered_copies,
        lambda images_NHWC: as_set(images_NHWC).fingerprint,
        lambda images_NHWC: as_set(images_NHWC).content_order,
        lambda images_NHWC: as_set(images_NHWC).level_counts,
    ],
)
def test_memory_is_bounded_whatever_is_looked_for(
    on_disk: StoredImages, look: Callable[[StoredImages], object]
) -> None:
    tracemalloc.start()
    try:
        look(on_disk)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As float32 the pictures take 180 MB, and several such arrays would be needed.
    assert most < 120e6


def test_copies_among_large_images_are_found(on_disk: StoredImages) -> None:
    assert near_copies(on_disk) == [(i, i + COUNT - 100) for i in range(100)]


def test_the_fingerprint_is_of_all_pixels_in_their_order(on_disk: StoredImages) -> None:
    data = as_set(on_disk)
    head = json.dumps([(COUNT, SIDE, SIDE, 3), ("a", "b")]).encode()
    content = Path(on_disk.path).read_bytes() + data.labels_N.tobytes()
    assert data.fingerprint == hashlib.sha256(head + content).hexdigest()


@pytest.mark.parametrize("shape", [(28, 28, 1), (128, 128, 3), (224, 224, 3), (4096, 4096, 3)])
def test_a_few_megabytes_are_looked_at_together(shape: tuple[int, int, int]) -> None:
    images = at_once(shape)
    assert images == 1 or images * int(np.prod(shape)) <= 10e6
    assert 1 <= images <= 1000
