"""A data set is a value."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest

from firstlight.data.dataset import Dataset


def small(pixel: int = 0, label: int = 1, names: tuple[str, ...] = ("a", "b")) -> Dataset:
    images = np.full((3, 2, 5, 1), pixel, dtype=np.uint8)
    return Dataset(
        name="x", images_NHWC=images, labels_N=np.array([0, label, 0]), class_names=names
    )


def test_equal_content_is_equal_and_any_difference_is_not() -> None:
    assert small() == small()
    assert len({small(), small()}) == 1
    others = [small(pixel=1), small(label=0), small(names=("a", "c"))]
    reshaped = Dataset(
        name="x",
        images_NHWC=small().images_NHWC.reshape(3, 5, 2, 1),
        labels_N=small().labels_N,
        class_names=("a", "b"),
    )
    assert len({d.fingerprint for d in [small(), *others, reshaped]}) == 5


def test_pictures_are_the_same_in_any_order_and_with_any_labels() -> None:
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (4, 2, 5, 1), dtype=np.uint8)
    names, labels_N = ("a", "b"), np.array([0, 1, 0, 0])
    data = Dataset(name="x", images_NHWC=noise_NHWC, labels_N=labels_N, class_names=names)
    turned_N = np.arange(4)[::-1]
    assert data.take(turned_N).pictures == data.pictures
    assert replace(data, labels_N=data.labels_N[turned_N]).pictures == data.pictures
    changed_NHWC = data.images_NHWC.copy()
    changed_NHWC[-1, -1, -1] ^= 1
    flat_NHWC = data.images_NHWC.swapaxes(1, 2)
    others = [replace(data, images_NHWC=one) for one in (changed_NHWC, flat_NHWC)]
    assert len({one.pictures for one in (data, data.take(turned_N[1:]), *others)}) == 4


def test_take_gives_the_chosen_images_in_the_given_order() -> None:
    data = Dataset(
        name="x",
        images_NHWC=np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1),
        labels_N=np.array([0, 1, 2, 3]),
        class_names=("a", "b", "c", "d"),
    )

    part = data.take(np.array([3, 1]), "x/part")

    assert part.images_NHWC.ravel().tolist() == part.labels_N.tolist() == [3, 1]
    assert part.name == "x/part"


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, np.int64), "must be uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), "must be uint8 N×H×W×C"),
        (np.zeros((2, 4, 4, 4), np.uint8), np.zeros(2, np.int64), "1 or 3 channels"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64), "labels must be int64"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32), "labels must be int64"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2]), "labels run from 0 to 2"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([-1, 0]), "labels run from -1 to 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    images: np.ndarray, labels: np.ndarray, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Dataset(name="x", images_NHWC=images, labels_N=labels, class_names=("a", "b"))


def test_the_order_of_content_is_that_of_the_pixels_digests_then_of_the_labels() -> None:
    """Every split and training starts from this order, so it must not change."""
    pixels = [[7, 200], [7, 201], [255, 0], [7, 200], [0, 0], [7, 200]]
    labels = [2, 0, 1, 0, 2, 1]
    data = Dataset(
        name="x",
        images_NHWC=np.array(pixels, dtype=np.uint8).reshape(6, 1, 2, 1),
        labels_N=np.array(labels),
        class_names=("a", "b", "c"),
    )

    keys = [
        (blake2b(bytes(p), digest_size=16).hexdigest(), k)
        for p, k in zip(pixels, labels, strict=True)
    ]
    assert data.content_order.tolist() == sorted(range(6), key=keys.__getitem__)
