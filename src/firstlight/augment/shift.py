"""Whole-pixel shifts and mirror images. Axes: N images, C channels, H height, W width."""

import torch
from torch import Generator, Tensor


def shift_and_mirror(
    images_NCHW: Tensor, pixels: int, mirrored_N: Tensor, rng: Generator
) -> Tensor:
    """Shift each image randomly by up to ``pixels`` in each direction, and mirror the marked
    images.

    Shifts are whole pixels, uniform within ±``pixels``. Pixels from outside are the image reflected
    at its edge. ``mirrored_N`` (bool) marks the images to mirror left to right. The input is not
    changed. Raises ``ValueError`` if the images are smaller than the shift.
    """
    n, _, height, width = images_NCHW.shape
    if not 0 <= pixels < min(height, width):
        raise ValueError(f"images of {height}×{width} pixels cannot be shifted by {pixels}")
    device = images_NCHW.device

    def places(side: int) -> Tensor:
        """Return N×side: the input row (or column) of each output row (or column)."""
        offset_N = torch.randint(-pixels, pixels + 1, (n,), generator=rng, device=device)
        along = torch.arange(side, device=device) + offset_N[:, None]
        return (side - 1) - ((side - 1) - along.abs()).abs()

    rows_NH, columns_NW = places(height), places(width)
    columns_NW = torch.where(mirrored_N[:, None], columns_NW.flip(1), columns_NW)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1)
    which_N11 = torch.arange(n, device=device)[:, None, None]
    moved_NHWC = images_NHWC[which_N11, rows_NH[:, :, None], columns_NW[:, None, :]]
    return moved_NHWC.permute(0, 3, 1, 2)
