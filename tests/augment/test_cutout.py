"""Cutout: how many pixels, where, and in which images."""

import pytest
import torch
from torch import Generator

from firstlight.augment.cutout import cutout

IMAGES_NCHW = 1 + torch.rand(400, 3, 9, 12, generator=Generator().manual_seed(0))


def test_each_image_loses_one_whole_square_and_nothing_else() -> None:
    before = IMAGES_NCHW.clone()
    cut = cutout(IMAGES_NCHW, 4, Generator().manual_seed(1))

    assert torch.equal(IMAGES_NCHW, before)
    gone = cut == 0
    assert torch.equal(cut[~gone], IMAGES_NCHW[~gone])
    assert (gone.sum((1, 2, 3)) == 3 * 4 * 4).all()
    assert (gone.any(1).any(2).sum(1) == 4).all(), "four rows"
    assert (gone.any(1).any(1).sum(1) == 4).all(), "four columns"


def test_every_place_inside_is_taken_and_the_seed_decides() -> None:
    cut = cutout(IMAGES_NCHW, 4, Generator().manual_seed(1))
    corners = {tuple((image[0] == 0).nonzero()[0].tolist()) for image in cut}

    assert corners == {(y, x) for y in range(6) for x in range(9)}
    assert torch.equal(cut, cutout(IMAGES_NCHW, 4, Generator().manual_seed(1)))
    assert not torch.equal(cut, cutout(IMAGES_NCHW, 4, Generator().manual_seed(2)))


def test_no_side_cuts_nothing_and_too_large_a_side_is_refused() -> None:
    assert torch.equal(cutout(IMAGES_NCHW, 0, Generator()), IMAGES_NCHW)
    with pytest.raises(ValueError, match="no room for a square of 10"):
        cutout(IMAGES_NCHW, 10, Generator())
