"""Shrunk images, compared with Pillow's bilinear filter, which uses the same triangle."""

import numpy as np
import pytest
import torch
from PIL import Image

from firstlight.augment.shrink import shrunk, shrunk_shape


@pytest.mark.parametrize("shape", [(32, 32), (28, 28), (10, 13)])
def test_three_quarters_of_each_side_are_what_pillow_makes_of_them(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    images_NHW = rng.standard_normal((3, *shape)).astype(np.float32)
    height, width = shrunk_shape(*shape)
    assert abs(height - 0.75 * shape[0]) <= 0.5 and abs(width - 0.75 * shape[1]) <= 0.5

    small_NChw = shrunk(torch.from_numpy(images_NHW)[:, None])

    for ours, whole in zip(small_NChw[:, 0].numpy(), images_NHW, strict=True):
        theirs = Image.fromarray(whole).resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-5)


def test_images_lie_in_memory_as_they_did() -> None:
    images_NCHW = torch.zeros(2, 3, 8, 8)
    assert shrunk(images_NCHW).is_contiguous()
    last = images_NCHW.contiguous(memory_format=torch.channels_last)
    assert shrunk(last).is_contiguous(memory_format=torch.channels_last)
