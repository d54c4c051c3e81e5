"""Turns, shifts, scales, shears: each image is moved as a whole, in one resampling.

Neighbours in the list of augmentations are put together, so that pixels are interpolated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firstlight.augment.augmentation import Augmentation
from firstlight.checked import choice, number
from firstlight.errors import UserError


@dataclass(frozen=True, repr=False)
class Geometric(Augmentation):
    """One of the changes that ``augment/affine.py`` puts together."""


@dataclass(frozen=True, repr=False)
class Rotate(Geometric):
    """Turn each image by an angle of its own."""

    kind: ClassVar[str] = "rotate"
    main: ClassVar[str] = "degrees"

    degrees: float = number(10.0, least=0.0, most=180.0)
    """Largest angle to either side; uniform."""

    def words(self) -> str:
        return f"rotated by up to {self.degrees:g}°"


@dataclass(frozen=True, repr=False)
class Shift(Geometric):
    """Move each image up, down, left and right; the edge is repeated."""

    kind: ClassVar[str] = "shift"
    main: ClassVar[str] = "fraction"

    fraction: float = number(0.1, least=0.0, most=1.0)
    """Largest shift, as a share of the image's side; uniform."""

    def words(self) -> str:
        return f"shifted by up to {100 * self.fraction:g} % of its side"


@dataclass(frozen=True, repr=False)
class Scale(Geometric):
    """Enlarge or shrink each image about its middle."""

    kind: ClassVar[str] = "scale"
    main: ClassVar[str] = "fraction"

    fraction: float = number(0.1, least=0.0, most=0.9)
    """Largest change of the sides: 0.1 for 0.9 to 1.1 times as large; uniform."""

    def words(self) -> str:
        return f"scaled by up to {100 * self.fraction:g} %"


@dataclass(frozen=True, repr=False)
class Shear(Geometric):
    """Slant each image sideways."""

    kind: ClassVar[str] = "shear"
    main: ClassVar[str] = "degrees"

    degrees: float = number(10.0, least=0.0, most=60.0)
    """Largest angle between a slanted upright line and the upright; uniform."""

    def words(self) -> str:
        return f"sheared by up to {self.degrees:g}°"


@dataclass(frozen=True, repr=False)
class Flip(Augmentation):
    """Mirror images left to right. Not for digits and letters."""

    kind: ClassVar[str] = "flip"
    main: ClassVar[str] = "how"

    how: str = choice("random", "random", "alternate")
    """``random``: with probability one half. ``alternate``: at random in the first epoch, then in
    every other one (Jordan 2024, section 3.6)."""

    def words(self) -> str:
        return "mirrored every second time" if self.how == "alternate" else "mirrored at random"


@dataclass(frozen=True, repr=False)
class Crop(Augmentation):
    """A crop of the image's own size from the image with a reflected border: a shift by whole
    pixels, cheaper than ``shift``."""

    kind: ClassVar[str] = "crop"
    main: ClassVar[str] = "pixels"

    pixels: int = number(4, least=1, most=64)
    """Width of the border, and so the largest shift; uniform."""

    def check(self, height: int, width: int) -> None:
        if self.pixels >= min(height, width):
            raise UserError(
                f"crop = {self.pixels} is too much for images of {height}×{width} pixels"
            )

    def words(self) -> str:
        return f"shifted by up to {self.pixels} pixel{'' if self.pixels == 1 else 's'}"
