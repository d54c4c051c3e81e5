"""Random turns, shifts and mirror images. Axes: N images, C channels, H height, W width."""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from firstlight.recipe import AugmentChoice


def random_affine(images_NCHW: Tensor, choice: AugmentChoice, rng: Generator) -> Tensor:
    """Turn, shift and mirror each image on its own; the input is left as it was.

    Angles are uniform within ±``rotation_degrees``, shifts uniform within ±``shift_fraction`` of
    height and width, and mirroring has probability one half where ``flip`` is on. Pixels between
    the grid are bilinear; what comes in from outside repeats the edge.
    """
    n, _, height, width = images_NCHW.shape
    device = images_NCHW.device

    def uniform(largest: float) -> Tensor:
        return (torch.rand(n, generator=rng, device=device) * 2 - 1) * largest

    angle_N = uniform(math.radians(choice.rotation_degrees))
    # grid_sample's coordinates run from -1 to 1 over each side, so a whole side is 2.
    down_N, right_N = uniform(2 * choice.shift_fraction), uniform(2 * choice.shift_fraction)
    mirror_N = torch.ones(n, device=device)
    if choice.flip:
        mirror_N -= 2 * (torch.rand(n, generator=rng, device=device) < 0.5)
    cos_N, sin_N = angle_N.cos(), angle_N.sin()
    # Rows map an output place to the input place it shows; the ratios keep a turn a turn where
    # height and width differ.
    theta_N23 = torch.stack(
        [
            torch.stack([mirror_N * cos_N, -mirror_N * sin_N * height / width, right_N], dim=1),
            torch.stack([sin_N * width / height, cos_N, down_N], dim=1),
        ],
        dim=1,
    )
    grid_NHW2 = affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    moved_NCHW = grid_sample(
        images_NCHW, grid_NHW2, mode="bilinear", padding_mode="border", align_corners=False
    )
    return moved_NCHW.contiguous(memory_format=torch.channels_last)
