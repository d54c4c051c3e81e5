"""Splits of a data set."""

from dataclasses import replace

import numpy as np
import pytest

from firstlight.data.dataset import Dataset
from firstlight.data.split import hold_out, limit


def numbered(counts: list[int]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    names = tuple(f"class {k}" for k in range(len(counts)))
    return Dataset(name="numbered", images_NHWC=images, labels_N=labels, class_names=names)


def test_held_out_images_are_the_wanted_share_of_each_class_and_none_is_in_both() -> None:
    data = numbered([100, 50, 10, 2, 1])
    kept, held = hold_out(data, 0.1)
    assert np.bincount(data.labels_N[held], minlength=5).tolist() == [10, 5, 1, 1, 0]
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(163))


def test_the_images_and_not_their_order_decide_what_is_held_out() -> None:
    data = numbered([60, 60])
    order = np.random.default_rng(0).permutation(120)
    one, other = data, data.take(order)
    for ours, theirs in zip(hold_out(one, 0.2), hold_out(other, 0.2), strict=True):
        # The order is also the same, so that the same seed trains to the same bits.
        assert np.array_equal(one.images_NHWC[ours], other.images_NHWC[theirs])


def test_images_of_one_group_stay_together() -> None:
    data = numbered([60, 60])
    pairs = replace(data, groups_N=np.arange(120) // 2)
    kept, held = hold_out(pairs, 0.2)
    assert not set(kept // 2) & set(held // 2)
    assert np.bincount(data.labels_N[held]).tolist() == [12, 12]


def test_images_of_large_groups_are_held_out_no_more_often_than_others() -> None:
    """Half of the images are in groups of five, so about half of the held-out ones are too."""
    images = np.random.default_rng(0).integers(0, 256, (2000, 2, 2, 1), dtype=np.uint8)
    groups = np.concatenate([np.arange(1000) // 5 * 5, np.arange(1000, 2000)])
    data = replace(numbered([2000]), images_NHWC=images, groups_N=groups)
    _, held = hold_out(data, 0.1)
    # 20 of 200 groups are expected, so 100 ± 21 images (binomial); by first images, four groups of
    # ten are in the first tenth.
    assert 200 <= len(held) <= 205
    assert 40 < (held < 1000).sum() < 160


def test_a_class_that_is_one_group_is_not_held_out() -> None:
    data = replace(numbered([10, 10]), groups_N=np.array([0] * 10 + list(range(10, 20))))
    _, held = hold_out(data, 0.2)
    assert np.bincount(data.labels_N[held], minlength=2).tolist() == [0, 2]


def test_what_the_maker_held_out_is_held_out() -> None:
    mask = np.zeros(20, dtype=bool)
    mask[[3, 17]] = True
    _, held = hold_out(replace(numbered([10, 10]), held_out_N=mask), 0.5)
    assert sorted(held.tolist()) == [3, 17]


def test_too_few_images_to_hold_some_out_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        hold_out(numbered([1, 1]), 0.1)


def test_a_limit_takes_evenly_spaced_images_and_leaves_smaller_parts_whole() -> None:
    train, test = limit(numbered([50, 50]), 10), limit(numbered([3, 4]), 10)
    assert np.bincount(train.labels_N).tolist() == [5, 5]
    assert len(test) == 7
