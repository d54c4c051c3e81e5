"""Augmentations that erase parts of images. Axes: B images, C channels, H height, W width."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.augment.augmentation import Augmentation, Seen
from firstlight.checked import number
from firstlight.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

LEAST_RATIO = 0.3
"""Smallest ratio of an erased rectangle's height to its width; the largest is its inverse."""
_DRAWS = 10


@dataclass(frozen=True, repr=False)
class Cutout(Augmentation):
    """Set one random square to zero in each image (DeVries and Taylor 2017)."""

    kind: ClassVar[str] = "cutout"
    main: ClassVar[str] = "pixels"

    pixels: int = number(8, least=1, most=512)
    """Side of the square, in pixels."""

    def check(self, height: int, width: int) -> None:
        if self.pixels > min(height, width):
            raise UserError(
                f"cutout = {self.pixels} is too much for images of {height}×{width} pixels"
            )

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        from firstlight.augment.cutout import cutout

        return cutout(pixels_BCHW, self.pixels, rng)

    def words(self) -> str:
        return f"erased in a square of {self.pixels} pixels"


@dataclass(frozen=True, repr=False)
class Erase(Augmentation):
    """Fill a random rectangle of some images with random colours (random erasing, Zhong et al.
    2020, algorithm 1). The rectangle lies inside the image, and its height is 0.3 to 1 / 0.3 times
    its width. The logarithm of that ratio is uniform, as in torchvision, so that tall and wide
    rectangles are equally frequent."""

    kind: ClassVar[str] = "erase"
    main: ClassVar[str] = "share"

    share: float = number(0.5, least=0.0, most=1.0, above=True)
    """Probability that an image loses a rectangle."""
    _: KW_ONLY
    least: float = number(0.02, least=0.0, most=1.0, above=True)
    """Smallest area of a rectangle, as a share of the image; areas are uniform."""
    most: float = number(0.33, least=0.0, most=1.0, above=True)
    """Largest area of a rectangle, as a share of the image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least > self.most:
            raise UserError(f"least = {self.least:g} must not be above most = {self.most:g}")

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        import torch

        count, channels, height, width = pixels_BCHW.shape
        device = pixels_BCHW.device
        coin_B, *place_2B = torch.rand(3, count, generator=rng, device=device)
        inside = []
        for side, length_B, place_B in zip(
            (height, width), self._sides(count, height, width, rng), place_2B, strict=True
        ):
            start_B = (place_B * (side - length_B + 1)).floor()
            along = torch.arange(side, device=device)
            inside.append((along >= start_B[:, None]) & (along < (start_B + length_B)[:, None]))
        erased_BHW = inside[0][:, :, None] & inside[1][:, None, :]
        erased_BHW &= (coin_B < self.share)[:, None, None]
        colours_BHWC = torch.rand(count, height, width, channels, generator=rng, device=device)
        filled_BCHW = seen.on_pixels(lambda _: colours_BHWC.permute(0, 3, 1, 2), pixels_BCHW)
        return torch.where(erased_BHW[:, None], filled_BCHW, pixels_BCHW)

    def _sides(self, count: int, height: int, width: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Return the height and width of each image's rectangle, in whole pixels, as floats.

        Area and ratio are drawn until both sides fit. If none of ``_DRAWS`` draws fits, the last
        ratio is moved to the nearest one that does.
        """
        import torch

        area_TB, ratio_TB = torch.rand(2, _DRAWS, count, generator=rng, device=rng.device)
        area_TB = (self.least + (self.most - self.least) * area_TB) * (height * width)
        ratio_TB = ((ratio_TB * 2 - 1) * math.log(1 / LEAST_RATIO)).exp()
        fits_TB = (area_TB * ratio_TB <= height**2) & (area_TB / ratio_TB <= width**2)
        fits_TB[-1] = True
        first_B = fits_TB.int().argmax(0)
        area_B, ratio_B = (one.gather(0, first_B[None])[0] for one in (area_TB, ratio_TB))
        ratio_B = ratio_B.clamp(area_B / width**2, height**2 / area_B)
        down_B = (area_B * ratio_B).sqrt().round().clamp(1, height)
        right_B = (area_B / ratio_B).sqrt().round().clamp(1, width)
        return down_B, right_B

    def words(self) -> str:
        return f"in {100 * self.share:g} % of cases filled with random colours inside a rectangle"
