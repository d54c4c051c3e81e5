"""Images mixed in pairs. Axes: N images, C channels, H height, W width."""

import math

import torch
from torch import Generator, Tensor

from firstlight.augment.mixing import Mix, MixUp


def mix(
    images_NCHW: Tensor, choice: Mix | None, rng: Generator, number_rng: Generator
) -> tuple[Tensor, Tensor, float]:
    """Return the mixed images, the index of each image's partner, and the share of the original
    image.

    ``mixup``: λ of each image plus 1 - λ of another one in the batch (Zhang et al. 2018, eq. 1).
    ``cutmix``: a rectangle of another image in each, with the images' proportions, area 1 - λ and a
    random centre (Yun et al. 2019, eq. 1 and 2). The batch shares one λ, drawn from Beta(α, α). The
    loss must be mixed with the same share. It is 1 if nothing was mixed.

    ``rng`` is on the device of the images. ``number_rng`` is on the CPU and draws λ and the centre
    in float64: Apple's GPUs have no float64, and reading a number from a device waits for it. On
    the CPU the two may be the same generator.
    """
    n, _, height, width = images_NCHW.shape
    if choice is None:
        return images_NCHW, torch.arange(n, device=images_NCHW.device), 1.0
    share = symmetric_beta(choice.alpha, number_rng)
    other_N = torch.randperm(n, generator=rng, device=images_NCHW.device)
    if isinstance(choice, MixUp):
        return images_NCHW.lerp(images_NCHW[other_N], 1 - share), other_N, share
    half, (y, x) = (1 - share) ** 0.5 / 2, _uniform(2, number_rng)
    top, bottom = (round(height * min(1, max(0, y + side * half))) for side in (-1, 1))
    left, right = (round(width * min(1, max(0, x + side * half))) for side in (-1, 1))
    mixed_NCHW = images_NCHW.clone()
    mixed_NCHW[:, :, top:bottom, left:right] = images_NCHW[other_N, :, top:bottom, left:right]
    return mixed_NCHW, other_N, 1 - (bottom - top) * (right - left) / (height * width)


def symmetric_beta(alpha: float, rng: Generator) -> float:
    """Draw from Beta(α, α), 0 < α ≤ 1, by Jöhnk's method (1964), with a generator on the CPU."""
    while True:
        x, y = (math.pow(u, 1 / alpha) for u in _uniform(2, rng))
        if 0 < x + y <= 1:
            return x / (x + y)


def _uniform(count: int, rng: Generator) -> list[float]:
    drawn: list[float] = torch.rand(count, generator=rng, dtype=torch.float64).tolist()
    return drawn
