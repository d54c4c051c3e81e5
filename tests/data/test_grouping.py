"""Pictures that look similar leave some to hold out, and real copies stay together."""

from dataclasses import replace

import numpy as np
import pytest
from tests.data.drawings import DRAWN, NOISY, letters
from tests.data.test_altered import photographs

from firstlight.data import split
from firstlight.data.altered import altered_copies
from firstlight.data.dataset import Dataset
from firstlight.data.duplicates import Pairs, groups
from firstlight.data.grouping import grouped
from firstlight.data.split import Divided, divide, hold_out


def parts(images: np.ndarray, labels: np.ndarray) -> Divided:
    names = tuple(f"class {k}" for k in range(int(labels.max()) + 1))
    data = Dataset(
        name="made", images_NHWC=images, labels_N=labels.astype(np.int64), class_names=names
    )
    return divide(data, [""] * len(images))


def assert_shares(divided: Divided, most: float) -> None:
    """Assert that each class is in both parts, and at most ``most`` of it is held out."""
    labels = divided.images.labels_N
    test = np.bincount(labels[divided.sizes["train"] :], minlength=labels.max() + 1)
    assert (test > 0).all()
    assert (test <= most * np.bincount(labels)).all()
    rest = divided.images.take(np.arange(divided.sizes["train"]))
    hold_out(rest, 0.1)  # something remains to validate on


@pytest.fixture
def altered(monkeypatch: pytest.MonkeyPatch) -> list[Pairs]:
    """Return the altered copies that each division finds: to look for them takes seconds."""
    found: list[Pairs] = []

    def noting(images: np.ndarray) -> Pairs:
        found.append(altered_copies(images))
        return found[-1]

    monkeypatch.setattr(split, "altered_copies", noting)
    return found


@pytest.mark.parametrize("name", NOISY)
def test_the_same_mark_on_other_noise_is_no_copy_and_split_without_a_word(
    name: str, altered: list[Pairs]
) -> None:
    images = NOISY[name]()
    divided = parts(images, np.arange(len(images)) % 2)
    assert altered == [[]]
    assert_shares(divided, 0.3)
    assert divided.images.warnings == ()


@pytest.mark.parametrize("name", DRAWN)
def test_only_drawings_that_are_the_same_when_turned_are_copies_and_split_without_a_word(
    name: str, altered: list[Pairs]
) -> None:
    images = DRAWN[name]()
    divided = parts(images, np.arange(len(images)) % 2)
    (pairs,) = altered
    grey = images[..., 0].astype(float)
    for i, j in pairs:
        turns = [np.rot90(way, k) for way in (grey[i], grey[i].T) for k in range(4)]
        assert max(np.corrcoef(turn.ravel(), grey[j].ravel())[0, 1] for turn in turns) > 0.97
    assert np.bincount(groups(len(images), pairs)).max() <= 8
    assert_shares(divided, 0.3)
    assert divided.images.warnings == ()


def test_letters_that_chain_are_split_and_it_is_said() -> None:
    images = letters(240, size=34, farthest=3)
    divided = parts(images, np.arange(240) % 8)
    assert_shares(divided, 0.4)
    assert any("are very similar" in warning for warning in divided.images.warnings)


def test_pictures_of_a_fixed_camera_are_split_and_it_is_said() -> None:
    rng = np.random.default_rng(0)
    scene = photographs(1, 48).astype(float)
    images = np.repeat(scene, 40, axis=0) + rng.normal(0, 2, (40, 48, 48, 3))
    for image in images[1::2]:  # a scratch on every second one
        row, column = rng.integers(4, 40, 2)
        image[row : row + 4, column : column + 4] = 255
    divided = parts(images.clip(0, 255).astype(np.uint8), np.arange(40) % 2)
    assert_shares(divided, 0.3)
    assert any("class 0" in w and "are very similar" in w for w in divided.images.warnings)


@pytest.mark.parametrize("originals", [6, 8, 40])
def test_all_turns_of_each_picture_stay_on_one_side(originals: int) -> None:
    """With three or more originals of a class, there is one for testing and one for validation."""
    images = photographs(originals)
    turned = [np.rot90(way, k, (1, 2)) for way in (images, images[:, ::-1]) for k in range(4)]
    labels = np.tile(np.arange(originals) % 2, 8)
    divided = parts(np.concatenate(turned), labels)
    assert_shares(divided, 0.5)
    assert divided.images.warnings == ()
    group_N = divided.images.groups_N
    assert group_N is not None and len(np.unique(group_N)) == originals
    train = divided.sizes["train"]
    assert not set(group_N[:train]) & set(group_N[train:])


def test_pictures_that_are_the_same_to_the_pixel_stay_together_whatever_their_number() -> None:
    images = photographs(4)[[0] * 30 + [1, 2, 3]]
    near = [(i, j) for i in range(33) for j in range(i + 1, 33)]
    found = grouped(images, np.zeros(33, np.int64), near, [])
    assert found.near == [(i, i + 1) for i in range(29)]
    assert found.alike_N.tolist() == list(range(33))


def test_a_chain_across_a_small_part_of_a_class_is_left_as_it_is() -> None:
    pairs = [(i, i + 1) for i in range(20)]
    found = grouped(photographs(1)[[0] * 60], np.zeros(60, np.int64), [], pairs)
    assert (found.altered, len(found.alike_N)) == (pairs, 0)
    found = grouped(photographs(1)[[0] * 60], np.arange(60) // 20, [], pairs)
    assert (found.altered, len(found.alike_N)) == ([], 21)


def test_large_groups_are_held_out_where_there_are_no_small_ones() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 2, 2, 1), dtype=np.uint8)
    data = Dataset(
        name="made",
        images_NHWC=images,
        labels_N=np.repeat([0, 1], 30),
        class_names=("a", "b"),
        groups_N=np.arange(60) // 10 * 10,
    )
    kept, held = hold_out(data, 0.1)
    assert np.bincount(data.labels_N[held]).tolist() == [10, 10]
    assert not set(kept // 10) & set(held // 10)
    two = replace(data, groups_N=np.array([0] * 20 + [20] * 10 + list(range(30, 60))))
    _, held = hold_out(two, 0.1)
    assert np.bincount(data.labels_N[held], minlength=2).tolist() == [10, 3]
