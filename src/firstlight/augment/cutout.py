"""Squares cut out of images. Axes: N images, C channels, H height, W width."""

import torch
from torch import Generator, Tensor


def cutout(images_NCHW: Tensor, side: int, rng: Generator) -> Tensor:
    """Set a random square of ``side`` pixels to zero in each image.

    The square is always inside the image, and all positions are equally likely (DeVries and Taylor
    2017, in the variant where no square crosses the edge). The input is not changed. Raises
    ``ValueError`` if the images are smaller than the square.
    """
    n, _, height, width = images_NCHW.shape
    if not 0 <= side <= min(height, width):
        raise ValueError(f"images of {height}×{width} pixels have no room for a square of {side}")

    def inside(length: int) -> Tensor:
        """Return N×length: whether each row (or column) is inside the square."""
        start_N = torch.randint(
            0, length - side + 1, (n,), generator=rng, device=images_NCHW.device
        )
        along = torch.arange(length, device=images_NCHW.device) - start_N[:, None]
        return (along >= 0) & (along < side)

    rows_NH, columns_NW = inside(height), inside(width)
    cut_N1HW = (rows_NH[:, :, None] & columns_NW[:, None, :])[:, None]
    cut_NCHW = images_NCHW.masked_fill(cut_N1HW, 0.0)  # may have another memory order
    return cut_NCHW.contiguous(memory_format=torch.channels_last)
