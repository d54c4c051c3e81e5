"""Brightness, contrast, noise, blur. Axes: B images, C channels, H height, W width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.augment.augmentation import Augmentation, Seen, per_channel
from firstlight.checked import number

if TYPE_CHECKING:
    from torch import Generator, Tensor

_REACH = 4
"""Radius of the blur kernel in standard deviations; SciPy's default."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue for grey (ITU-R BT.601)."""


@dataclass(frozen=True, repr=False)
class Brightness(Augmentation):
    """Multiply all pixels of an image, in [0, 1], by one random factor."""

    kind: ClassVar[str] = "brightness"
    main: ClassVar[str] = "fraction"

    fraction: float = number(0.2, least=0.0, most=1.0, above=True)
    """Largest change, uniform: 0.2 gives factors from 0.8 to 1.2."""

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        factor_B111 = _uniform(pixels_BCHW, 1 - self.fraction, 1 + self.fraction, rng)
        return seen.on_pixels(lambda plain: plain * factor_B111, pixels_BCHW)

    def words(self) -> str:
        return f"made brighter or darker by up to {100 * self.fraction:g} %"


@dataclass(frozen=True, repr=False)
class Contrast(Augmentation):
    """Move all pixels of an image towards or away from its mean grey."""

    kind: ClassVar[str] = "contrast"
    main: ClassVar[str] = "fraction"

    fraction: float = number(0.2, least=0.0, most=1.0, above=True)
    """Largest change, uniform: 0.2 gives 0.8 to 1.2 times the distance from the mean."""

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        factor_B111 = _uniform(pixels_BCHW, 1 - self.fraction, 1 + self.fraction, rng)

        def change(plain_BCHW: Tensor) -> Tensor:
            grey_BHW = plain_BCHW[:, 0]
            if plain_BCHW.shape[1] == 3:
                weight_C11 = per_channel(plain_BCHW, GREY)
                grey_BHW = (plain_BCHW * weight_C11).sum(1)
            mean_B111 = grey_BHW.mean((1, 2))[:, None, None, None]
            return mean_B111 + factor_B111 * (plain_BCHW - mean_B111)

        return seen.on_pixels(change, pixels_BCHW)

    def words(self) -> str:
        return f"given up to {100 * self.fraction:g} % more or less contrast"


@dataclass(frozen=True, repr=False)
class Noise(Augmentation):
    """Add independent Gaussian noise to each pixel."""

    kind: ClassVar[str] = "noise"
    main: ClassVar[str] = "deviation"

    deviation: float = number(0.05, least=0.0, most=1.0, above=True)
    """Standard deviation, as a share of the range from black to white."""

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        import torch

        count, channels, height, width = pixels_BCHW.shape
        noise_BHWC = torch.randn(
            count, height, width, channels, generator=rng, device=pixels_BCHW.device
        )
        noise_BCHW = noise_BHWC.permute(0, 3, 1, 2)
        return seen.on_pixels(lambda plain: plain + self.deviation * noise_BCHW, pixels_BCHW)

    def words(self) -> str:
        return f"overlaid with noise of {100 * self.deviation:g} % of the range"


@dataclass(frozen=True, repr=False)
class Blur(Augmentation):
    """Blur each image with a Gaussian of random width; the image is reflected at its edge."""

    kind: ClassVar[str] = "blur"
    main: ClassVar[str] = "sigma"

    sigma: float = number(1.0, least=0.0, most=16.0, above=True)
    """Largest standard deviation, in pixels; uniform from 0."""

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        import torch
        from torch.nn.functional import conv2d

        count, channels, height, width = pixels_BCHW.shape
        reach = math.ceil(_REACH * self.sigma)
        sigma_B1 = _uniform(pixels_BCHW, 0.0, self.sigma, rng).reshape(-1, 1).clamp(min=1e-3)
        along = torch.arange(-reach, reach + 1, device=pixels_BCHW.device)
        weight_BR = (-(along**2) / (2 * sigma_B1**2)).exp()
        weight_BR = (weight_BR / weight_BR.sum(1, keepdim=True)).repeat_interleave(channels, 0)
        blurred_1MHW = pixels_BCHW.reshape(1, count * channels, height, width)
        for axis, weight_M1hw in (
            (2, weight_BR[:, None, :, None]),
            (3, weight_BR[:, None, None, :]),
        ):
            side = blurred_1MHW.shape[axis]
            places = _reflected(torch.arange(-reach, side + reach, device=along.device), side)
            padded_1MHW = blurred_1MHW.index_select(axis, places)
            blurred_1MHW = conv2d(padded_1MHW, weight_M1hw, groups=count * channels)
        blurred_BCHW = blurred_1MHW.reshape(pixels_BCHW.shape)
        return blurred_BCHW.contiguous(memory_format=torch.channels_last)

    def words(self) -> str:
        return f"blurred by up to {self.sigma:g} pixels"


def _reflected(places: Tensor, side: int) -> Tensor:
    """Reflect positions in an endless row of pixels into its first ``side``. The edge pixel appears
    once: ``2 1 0 1 2``."""
    period = max(1, 2 * (side - 1))
    return (side - 1) - (places % period - (side - 1)).abs()


def _uniform(pixels_BCHW: Tensor, low: float, high: float, rng: Generator) -> Tensor:
    """Draw one uniform number for each image, B×1×1×1."""
    import torch

    drawn_B = torch.rand(len(pixels_BCHW), generator=rng, device=pixels_BCHW.device)
    return (low + (high - low) * drawn_B)[:, None, None, None]
