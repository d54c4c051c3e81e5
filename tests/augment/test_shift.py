"""Shifts and mirror images, compared with padding and cropping by hand."""

import pytest
import torch
from torch import Generator
from torch.nn.functional import pad

from firstlight.augment.shift import shift_and_mirror

IMAGES_NCHW = torch.arange(7 * 3 * 6 * 9, dtype=torch.float32).reshape(7, 3, 6, 9)


def test_each_image_is_a_cut_of_itself_reflected_at_the_edges_and_mirrored_as_told() -> None:
    mirrored_N = torch.tensor([True, False, True, False, False, True, False])
    before = IMAGES_NCHW.clone()

    moved_NCHW = shift_and_mirror(IMAGES_NCHW, 2, mirrored_N, Generator().manual_seed(3))

    assert torch.equal(IMAGES_NCHW, before)
    padded_NCHW = pad(IMAGES_NCHW, (2, 2, 2, 2), mode="reflect")
    found = set()
    for moved, whole, mirror in zip(moved_NCHW, padded_NCHW, mirrored_N, strict=True):
        cuts = {(y, x): whole[:, y : y + 6, x : x + 9] for y in range(5) for x in range(5)}
        same = [p for p, cut in cuts.items() if torch.equal(moved, cut.flip(2) if mirror else cut)]
        assert len(same) == 1
        found.add(same[0])
    assert len(found) > 3, "the images move on their own"


def test_all_shifts_come_up_equally_often() -> None:
    images_NCHW = torch.zeros(9000, 1, 9, 9)
    images_NCHW[:, :, 4, 4] = 1

    moved_NCHW = shift_and_mirror(
        images_NCHW, 1, torch.zeros(9000, dtype=torch.bool), Generator().manual_seed(0)
    )

    counts = moved_NCHW.sum(dim=(0, 1))
    # 1000 expected in each of nine places, standard deviation about 30.
    assert counts[3:6, 3:6].min() > 850 and counts[3:6, 3:6].max() < 1150
    assert counts.sum() == 9000


def test_images_smaller_than_the_shift_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 6×9 pixels cannot be shifted by 6"):
        shift_and_mirror(IMAGES_NCHW, 6, torch.zeros(7, dtype=torch.bool), Generator())
