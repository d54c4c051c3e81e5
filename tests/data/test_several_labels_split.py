"""Splits of a data set whose images have several labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.kept import kept
from firstlight.data.split import divide, folds, hold_out
from firstlight.data.stratified import stratified
from firstlight.errors import DataError

SHARES = np.array([0.5, 0.3, 0.1, 0.02])


def labelled(count: int = 1000) -> Dataset:
    """Return noise with labels that 50, 30, 10 and 2 % of the images have; a third has none."""
    rng = np.random.default_rng(0)
    return Dataset(
        name="noise",
        images_NHWC=rng.integers(0, 256, (count, 6, 6, 1), dtype=np.uint8),
        labels_NK=rng.random((count, 4)) < SHARES,
        class_names=("sky", "sea", "boat", "whale"),
    )


def shares(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return the share in these rows of the images with each label, and of those without any."""
    assert data.labels_NK is not None
    every = np.column_stack([data.labels_NK, ~data.labels_NK.any(axis=1)])
    found: np.ndarray = every[rows].sum(axis=0) / every.sum(axis=0)
    return found


def test_the_held_out_part_has_the_wanted_share_of_each_label_and_of_images_without() -> None:
    data = labelled()
    kept_rows, held = hold_out(data, 0.2)
    assert sorted([*kept_rows.tolist(), *held.tolist()]) == list(range(1000))
    assert shares(data, held) == pytest.approx(np.full(5, 0.2), abs=0.05)
    # About 20 images have the rare label; chance would often miss a fifth of them.
    assert shares(data, held)[:3] == pytest.approx(np.full(3, 0.2), abs=0.01)


def test_each_fold_has_its_share_of_each_label() -> None:
    data = labelled()
    fold = folds(data, 5)
    for number in range(5):
        assert shares(data, np.flatnonzero(fold == number)) == pytest.approx(
            np.full(5, 0.2), abs=0.05
        )


def test_the_images_and_not_their_order_decide_what_is_held_out() -> None:
    data = labelled()
    other = data.take(np.random.default_rng(1).permutation(1000))
    for ours, theirs in zip(hold_out(data, 0.2), hold_out(other, 0.2), strict=True):
        assert np.array_equal(data.images_NHWC[ours], other.images_NHWC[theirs])


def test_images_of_one_group_stay_together() -> None:
    data = replace(labelled(), groups_N=np.arange(1000) // 4)
    kept_rows, held = hold_out(data, 0.2)
    assert not set(kept_rows // 4) & set(held // 4)
    assert shares(data, held)[:3] == pytest.approx(np.full(3, 0.2), abs=0.03)


def test_of_a_label_of_two_images_one_is_held_out_and_of_one_image_none() -> None:
    counts = np.zeros((100, 2), np.int64)
    counts[:2, 0], counts[5, 1] = 1, 1
    part = stratified(counts, np.ones(100, np.int64), np.array([0.1, 0.9]))
    assert sorted(part[:2].tolist()) == [0, 1]
    assert part[5] == 1


def test_a_label_without_a_training_image_is_refused() -> None:
    data = labelled(200)
    data = replace(data, labels_NK=data.each_label & np.array([True, True, True, False]))
    with pytest.raises(DataError, match="no readable picture of 'whale' to train on"):
        divide(data, [""] * 200)


def test_a_label_with_the_sign_between_labels_is_refused() -> None:
    with pytest.raises(DataError, match="'a;b' contains ';'"):
        replace(labelled(), class_names=("sky", "sea", "boat", "a;b"))


def test_labels_of_another_shape_are_refused() -> None:
    data = labelled()
    with pytest.raises(ValueError, match="labels_NK must be bool"):
        replace(data, labels_NK=np.zeros((1000, 3), bool))
    with pytest.raises(ValueError, match="without labels_N"):
        replace(data, labels_N=np.zeros(1000, np.int64))


def test_labels_come_back_from_the_cache_and_count_in_the_fingerprint(tmp_path: Path) -> None:
    data = labelled(300)

    def opened() -> TrainTest:
        return kept(tmp_path, "seen", lambda: "0" * 40, lambda _: (data, [""] * 300), "noise")

    first, again = opened(), opened()
    assert first.train.several and len(first.test) == pytest.approx(45, abs=5)
    for one, other in zip(first, again, strict=True):
        assert one == other and np.array_equal(one.each_label, other.each_label)
        assert one.fingerprint == replace(one, known=None).fingerprint
    assert data != replace(data, labels_NK=np.logical_not(data.each_label))
    together = {
        image.tobytes(): row.tolist()
        for part in first
        for image, row in zip(part.images_NHWC, part.each_label, strict=True)
    }
    assert all(
        together[image.tobytes()] == row.tolist()
        for image, row in zip(data.images_NHWC, data.each_label, strict=True)
    )
