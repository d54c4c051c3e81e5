"""Parts of images erased. Axes: B images, C channels, H height, W width."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.augment.augmentation import Augmentation, Seen
from firstlight.checked import number
from firstlight.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, repr=False)
class Cutout(Augmentation):
    """Set one square to zero in each image, at a place of its own (DeVries and Taylor 2017)."""

    kind: ClassVar[str] = "cutout"
    main: ClassVar[str] = "pixels"

    pixels: int = number(8, least=1, most=512)
    """Side of the square."""

    def check(self, height: int, width: int) -> None:
        if self.pixels > min(height, width):
            raise UserError(
                f"cutout = {self.pixels} is too much for images of {height}×{width} pixels"
            )

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        from firstlight.augment.cutout import cutout

        return cutout(pixels_BCHW, self.pixels, rng)

    def words(self) -> str:
        return f"robbed of a square of {self.pixels} pixels"


@dataclass(frozen=True, repr=False)
class Erase(Augmentation):
    """Fill a random rectangle of some images with noise (random erasing, Zhong et al. 2020,
    algorithm 1). Sides are drawn as PyTorch's torchvision draws them."""

    kind: ClassVar[str] = "erase"
    main: ClassVar[str] = "share"

    share: float = number(0.5, least=0.0, most=1.0, above=True)
    """Probability that an image loses a rectangle."""
    _: KW_ONLY
    least: float = number(0.02, least=0.0, most=1.0, above=True)
    """Least area of a rectangle, as a share of the image's."""
    most: float = number(0.33, least=0.0, most=1.0, above=True)
    """Largest area."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least > self.most:
            raise UserError(f"least = {self.least:g} must not be above most = {self.most:g}")

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        import torch

        count, _, height, width = pixels_BCHW.shape
        device = pixels_BCHW.device
        draws_5B = torch.rand(5, count, generator=rng, device=device)
        area_B = (self.least + (self.most - self.least) * draws_5B[1]) * height * width
        ratio_B = ((draws_5B[2] * 2 - 1) * math.log(1 / 0.3)).exp()
        inside_B1 = []
        for side, length_B, place_B in (
            (height, (area_B * ratio_B).sqrt(), draws_5B[3]),
            (width, (area_B / ratio_B).sqrt(), draws_5B[4]),
        ):
            length_B = length_B.round().clamp(1, side)
            start_B = (place_B * (side - length_B + 1)).floor()
            along = torch.arange(side, device=device)
            inside_B1.append((along >= start_B[:, None]) & (along < (start_B + length_B)[:, None]))
        rows_BH, columns_BW = inside_B1
        erased_BHW = rows_BH[:, :, None] & columns_BW[:, None, :]
        erased_BHW &= (draws_5B[0] < self.share)[:, None, None]
        noise_BCHW = torch.empty_like(pixels_BCHW).normal_(generator=rng)
        return torch.where(erased_BHW[:, None], noise_BCHW, pixels_BCHW)

    def words(self) -> str:
        return f"in {100 * self.share:g} % of cases filled with noise in a rectangle"
