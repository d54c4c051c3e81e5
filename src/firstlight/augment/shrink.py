"""Shrinking of images. Axes: N images, C channels, H height, W width."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 0.75
SHARE_OF_WORK = SIDE**2
"""Share of a convolution's work on a shrunk image, relative to the whole image."""


def shrunk_shape(height: int, width: int) -> tuple[int, int]:
    """Return three quarters of each side, rounded."""
    return round(SIDE * height), round(SIDE * width)


def shrunk(images_NCHW: Tensor) -> Tensor:
    """Shrink images to three quarters of each side. A new pixel is a mean of the pixels it covers
    and their neighbours, weighted by a triangle (bilinear, antialiased)."""
    last = images_NCHW.is_contiguous(memory_format=torch.channels_last)
    small_NChw = interpolate(
        images_NCHW, shrunk_shape(*images_NCHW.shape[2:]), mode="bilinear", antialias=True
    )
    order = torch.channels_last if last else torch.contiguous_format
    return small_NChw.contiguous(memory_format=order)
