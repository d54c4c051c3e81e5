"""Splits of a data set."""

from dataclasses import replace

import numpy as np
import pytest

from firstlight.data.dataset import Dataset
from firstlight.data.split import divide, folds, hold_out, limit, part_in_name
from firstlight.errors import DataError


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


def noisy(counts: list[int]) -> Dataset:
    """Images of noise, none of which looks like another."""
    data = numbered(counts)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(data), 16, 16, 1), dtype=np.uint8)
    return replace(data, images_NHWC=images)


def test_a_test_part_that_is_given_is_left_as_it_is() -> None:
    parts = ["train"] * 8 + ["test"] * 2 + ["train"] * 8 + ["test"] * 2
    divided = divide(noisy([10, 10]), parts)
    assert divided.sizes == {"train": 16, "validation": 0, "test": 4}
    assert divided.images.warnings == ()


def test_a_class_too_small_for_the_test_part_is_named() -> None:
    divided = divide(noisy([40, 40, 1]), [""] * 81)
    assert divided.sizes["test"] == 12  # 15 % of the two others
    (warning,) = divided.images.warnings
    assert warning.startswith("the test part has no pictures of class 2:")


@pytest.mark.parametrize(("count", "got"), [(0, "none"), (1, "'class 0' alone")])
def test_fewer_than_two_classes_are_refused(count: int, got: str) -> None:
    with pytest.raises(DataError, match=f"at least two classes, got {got}"):
        divide(noisy([5] * count), [""] * 5 * count)


def test_copies_in_two_parts_are_told_even_if_the_parts_are_given() -> None:
    data = noisy([10, 10])
    data.images_NHWC[9] = data.images_NHWC[0]
    divided = divide(data, ["train"] * 9 + ["test"] + ["train"] * 9 + ["test"])
    assert divided.images.warnings == (
        "1 pair of copies is in two parts, so the test will look too good",
    )
    named = replace(data, names=tuple(f"{at}.png" for at in range(20)))
    (warning,) = divide(named, ["train"] * 9 + ["test"] + ["train"] * 9 + ["test"]).images.warnings
    assert warning.endswith("(firstlight data check shows them)")


def test_groups_that_are_given_stay_on_one_side_of_a_division() -> None:
    data = replace(noisy([40, 40]), groups_N=np.arange(80) // 4)
    divided = divide(data, [""] * 80)
    shown = {image.tobytes(): at // 4 for at, image in enumerate(data.images_NHWC)}
    group = [shown[image.tobytes()] for image in divided.images.images_NHWC]
    kept = divided.sizes["train"]
    assert 0 < len(group) - kept <= 16
    assert not set(group[:kept]) & set(group[kept:])


def test_folds_have_equal_shares_of_each_class_and_keep_groups_together() -> None:
    data = replace(numbered([40, 20]), groups_N=np.arange(60) // 2)
    fold_N = folds(data, 4)
    for fold in range(4):
        large, small = np.bincount(data.labels_N[fold_N == fold], minlength=2)
        assert large == 10 and small in (4, 6)  # in pairs, 5 cannot be had
    assert (fold_N[::2] == fold_N[1::2]).all()
    order = np.random.default_rng(1).permutation(60)
    other = folds(data.take(order), 4)
    assert {frozenset(order[other == fold]) for fold in range(4)} == {
        frozenset(np.flatnonzero(fold_N == fold)) for fold in range(4)
    }


@pytest.mark.parametrize(
    ("name", "part", "rest"),
    [
        ("train", "train", set()),
        ("Training_Set", "train", set()),
        ("trainset", "train", set()),
        ("ValImages", "validation", set()),
        ("test1", "test", set()),
        ("letters-train", "train", {"letters"}),
        ("train_test", "", {"train", "test"}),
        ("cats", "", {"cats"}),
    ],
)
def test_a_folder_s_name_says_its_part(name: str, part: str, rest: set[str]) -> None:
    found = part_in_name(name)
    assert (found.part, found.rest) == (part, frozenset(rest))
    assert found.is_exact == (part != "" and not rest)
