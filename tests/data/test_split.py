"""Parts of a data set."""

import numpy as np
import pytest

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.split import hold_out, limit


def numbered(counts: list[int]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    names = tuple(f"class {k}" for k in range(len(counts)))
    return Dataset(name="numbered", images_NHWC=images, labels_N=labels, class_names=names)


def test_held_out_images_are_the_wanted_share_of_each_class_and_none_is_in_both() -> None:
    data = numbered([100, 50, 10, 2, 1])
    kept, held = hold_out(data, 0.1, seed=0)
    assert np.bincount(held.labels_N, minlength=5).tolist() == [10, 5, 1, 1, 0]
    both = np.concatenate([kept.images_NHWC, held.images_NHWC]).ravel()
    assert sorted(both.tolist()) == list(range(163))


def test_the_seed_decides_what_is_held_out() -> None:
    data = numbered([60, 60])
    parts = [hold_out(data, 0.2, seed=s)[1].images_NHWC for s in (1, 1, 2)]
    assert np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])


def test_too_few_images_to_hold_some_out_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        hold_out(numbered([1, 1]), 0.1, seed=0)


def test_a_limit_takes_evenly_spaced_images_and_leaves_smaller_parts_whole() -> None:
    train, test = limit(TrainTest(numbered([50, 50]), numbered([3, 4])), 10)
    assert np.bincount(train.labels_N).tolist() == [5, 5]
    assert len(test) == 7
