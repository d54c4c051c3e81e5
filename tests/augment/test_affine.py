"""Random affine changes, compared with SciPy and with arithmetic by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Generator, Tensor

from firstlight.augment import Augmentation, Flip, Rotate, Shift
from firstlight.augment.affine import random_affine


def pictures(n: int = 5, c: int = 3, h: int = 12, w: int = 16) -> Tensor:
    return torch.rand(n, c, h, w, generator=Generator().manual_seed(2))


def choice(rotation: float = 0.0, shift: float = 0.0, flip: bool = False) -> list[Augmentation]:
    return [Rotate(rotation), Shift(shift), *([Flip()] if flip else [])]


def test_nothing_asked_for_changes_nothing() -> None:
    images = pictures()
    moved = random_affine(images, choice(), Generator())
    # 1e-5: the grid's places are rounded in float32.
    assert torch.allclose(moved, images, atol=1e-5)


def test_a_mirror_keeps_every_pixel_and_about_half_are_mirrored() -> None:
    images = pictures(n=400)
    moved = random_affine(images, choice(flip=True), Generator().manual_seed(0))
    same = ((moved - images).abs().amax(dim=(1, 2, 3)) < 1e-4).sum().item()
    mirrored = ((moved - images.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4).sum().item()
    assert same + mirrored == 400
    assert 150 < same < 250  # five standard deviations of a fair coin


def test_shifts_stay_within_their_share_of_each_side_and_repeat_the_edge() -> None:
    # Brightness equal to the column (or row) number shows how far an image moved.
    h, w, share = 20, 50, 0.1
    columns = torch.arange(w, dtype=torch.float32).expand(300, 1, h, w)
    moved = random_affine(columns, choice(shift=share), Generator().manual_seed(0))
    by = moved[:, 0, h // 2, w // 2] - w // 2
    assert by.abs().max() <= share * w + 1e-3
    assert by.abs().max() > 0.9 * share * w
    assert by.min() < 0 < by.max()
    assert moved.min() >= 0 and moved.max() <= w - 1
    right = moved[by.argmax(), 0, h // 2]
    # 1e-3: places in float32 scaled by 50 columns.
    assert right[-1].item() == pytest.approx(w - 1, abs=1e-3)
    assert right[-4].item() == pytest.approx(w - 1, abs=1e-3)


def test_a_turn_is_scipys_turn_also_on_oblong_images() -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((24, 40)), 3)
    images = torch.from_numpy(smooth.astype(np.float32)).expand(64, 1, 24, 40)
    moved = random_affine(images, choice(rotation=30), Generator().manual_seed(4))
    angles = np.linspace(-30, 30, 601)
    turned = np.stack(
        [ndimage.rotate(smooth, a, reshape=False, order=1, mode="nearest") for a in angles]
    )
    inner = (slice(None), slice(6, 18), slice(10, 30))
    found = []
    for image in moved[:8, 0].numpy():
        errors = np.abs(turned[inner] - image[None][inner]).max(axis=(1, 2))
        # Steps of 0.1 degrees on this smooth picture differ by under 1 % of its range.
        assert errors.min() < 0.01 * np.ptp(smooth)
        found.append(angles[errors.argmin()])
    assert np.ptp(found) > 10


def test_the_same_seed_gives_the_same_images_and_the_input_is_left_as_it_was() -> None:
    images = pictures()
    before = images.clone()
    both = [
        random_affine(images, choice(10, 0.1, True), Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(images, before)
    assert torch.equal(both[0], both[1])
    assert not torch.equal(both[0], both[2])
    assert both[0].shape == images.shape and both[0].dtype == images.dtype
