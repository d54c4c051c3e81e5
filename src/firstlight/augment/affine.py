"""Random rotations, shifts, scales, shears and mirror images in one resampling.

Axes: N images, C channels, H height, W width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from firstlight.augment.augmentation import Augmentation
from firstlight.augment.geometry import Flip, Rotate, Scale, Shear, Shift

CLAMPS = "mps"
"""The device that cannot repeat the edge itself before PyTorch 2.13."""


def random_affine(images_NCHW: Tensor, moves: Sequence[Augmentation], rng: Generator) -> Tensor:
    """Rotate, shift, scale, shear and mirror each image randomly. The input is not changed.

    Random numbers are drawn in the order of ``moves``. An output pixel at (x, y) shows the input at
    M·S·R·(x, y) + t: rotation R, then shear and scale S, then mirroring M, then shift t. Pixels are
    interpolated bilinearly; the edge is repeated beyond the image.
    """
    n, _, height, width = images_NCHW.shape
    device = images_NCHW.device

    def uniform(largest: float) -> Tensor:
        return (torch.rand(n, generator=rng, device=device) * 2 - 1) * largest

    angle_N, slant_N = torch.zeros(n, device=device), None
    mirror_N, size_N = torch.ones(n, device=device), None
    down_N, right_N = torch.zeros(n, device=device), torch.zeros(n, device=device)
    for move in moves:
        if isinstance(move, Rotate):
            angle_N = uniform(math.radians(move.degrees))
        elif isinstance(move, Shift):
            # grid_sample's coordinates run from -1 to 1 over each side, so a whole side is 2.
            down_N, right_N = uniform(2 * move.fraction), uniform(2 * move.fraction)
        elif isinstance(move, Scale):
            size_N = 1 + uniform(move.fraction)
        elif isinstance(move, Shear):
            slant_N = uniform(math.radians(move.degrees)).tan()
        elif isinstance(move, Flip):
            mirror_N = mirror_N - 2 * (torch.rand(n, generator=rng, device=device) < 0.5)
    cos_N, sin_N = angle_N.cos(), angle_N.sin()
    # Rows map an output position to the input position that it shows. The ratios keep a rotation a
    # rotation if height and width differ.
    across_N2 = [mirror_N * cos_N, -mirror_N * sin_N * height / width]
    along_N2 = [sin_N * width / height, cos_N]
    if slant_N is not None:
        lean_N = mirror_N * slant_N * height / width
        across_N2 = [a + lean_N * b for a, b in zip(across_N2, along_N2, strict=True)]
    if size_N is not None:
        across_N2, along_N2 = ([one / size_N for one in row] for row in (across_N2, along_N2))
    theta_N23 = torch.stack(
        [torch.stack([*across_N2, right_N], dim=1), torch.stack([*along_N2, down_N], dim=1)],
        dim=1,
    )
    grid_NHW2 = affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    padding = "border"
    if device.type == CLAMPS:
        # The middles of the outermost pixels: at most one pixel beside is looked at, and counts 0.
        edge_2 = torch.stack([grid_NHW2.new_full((), 1 - 1 / side) for side in (width, height)])
        grid_NHW2, padding = grid_NHW2.clamp(-edge_2, edge_2), "zeros"
    moved_NCHW = grid_sample(
        images_NCHW, grid_NHW2, mode="bilinear", padding_mode=padding, align_corners=False
    )
    return moved_NCHW.contiguous(memory_format=torch.channels_last)
