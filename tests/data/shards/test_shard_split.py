"""Which images of a large set are held out."""

import numpy as np
import pytest

from firstlight.data.shards.split import chosen_by_digest


@pytest.mark.parametrize("seed", range(20))
def test_about_a_share_of_each_class_with_identical_files_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = rng.integers(0, 2**64, (300, 2), dtype=np.uint64)
    classes = rng.integers(0, 4, 300)
    copies = np.where(rng.random(300) < 0.1, rng.integers(2, 60, 300), 1)
    which = rng.permutation(np.repeat(np.arange(300), copies))
    chosen = chosen_by_digest(files[which], classes[which], 0.15)
    for file in range(300):
        assert len(set(chosen[which == file])) == 1
    for label in range(4):
        of_class = classes[which] == label
        assert 1 <= chosen[of_class].sum() <= round(0.15 * of_class.sum())
    again = rng.permutation(len(which))
    assert (
        chosen_by_digest(files[which[again]], classes[which[again]], 0.15) == chosen[again]
    ).all()


def test_a_file_that_is_there_many_times_is_not_chosen_and_a_class_keeps_an_image() -> None:
    files = np.zeros((31, 2), np.uint64)
    files[30] = 1
    labels = np.zeros(31, np.int64)
    assert np.flatnonzero(chosen_by_digest(files, labels, 0.15)).tolist() == [30]
    one = chosen_by_digest(files[:1], labels[:1], 0.15)
    assert not one.any()


def test_a_file_with_two_labels_goes_to_one_side() -> None:
    rng = np.random.default_rng(0)
    files = np.repeat(rng.integers(0, 2**64, (100, 2), dtype=np.uint64), 2, axis=0)
    chosen = chosen_by_digest(files, np.tile([0, 1], 100), 0.2)
    assert (chosen[::2] == chosen[1::2]).all()
    assert chosen.any()
