"""Rotations, shifts, scales and shears: each moves the whole image, in one resampling.

Consecutive ones are combined, so that pixels are interpolated only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firstlight.augment.augmentation import Augmentation
from firstlight.checked import choice, number
from firstlight.errors import UserError


@dataclass(frozen=True, repr=False)
class Geometric(Augmentation):
    """One of the changes that ``augment/affine.py`` combines."""


@dataclass(frozen=True, repr=False)
class Rotate(Geometric):
    """Rotate each image by a random angle."""

    kind: ClassVar[str] = "rotate"
    main: ClassVar[str] = "degrees"

    degrees: float = number(10.0, least=0.0, most=180.0)
    """Largest angle in either direction, in degrees; uniform."""

    def words(self) -> str:
        return f"rotated by up to {self.degrees:g}°"


@dataclass(frozen=True, repr=False)
class Shift(Geometric):
    """Move each image up, down, left and right; the edge is repeated."""

    kind: ClassVar[str] = "shift"
    main: ClassVar[str] = "fraction"

    fraction: float = number(0.1, least=0.0, most=1.0)
    """Largest shift, as a share of the side; uniform."""

    def words(self) -> str:
        return f"shifted by up to {100 * self.fraction:g} % of its side"


@dataclass(frozen=True, repr=False)
class Scale(Geometric):
    """Enlarge or shrink each image about its centre."""

    kind: ClassVar[str] = "scale"
    main: ClassVar[str] = "fraction"

    fraction: float = number(0.1, least=0.0, most=0.9)
    """Largest change of the sides, uniform: 0.1 gives 0.9 to 1.1 times the size."""

    def words(self) -> str:
        return f"scaled by up to {100 * self.fraction:g} %"


@dataclass(frozen=True, repr=False)
class Shear(Geometric):
    """Slant each image sideways."""

    kind: ClassVar[str] = "shear"
    main: ClassVar[str] = "degrees"

    degrees: float = number(10.0, least=0.0, most=60.0)
    """Largest angle by which an upright line is slanted, in degrees; uniform."""

    def words(self) -> str:
        return f"sheared by up to {self.degrees:g}°"


@dataclass(frozen=True, repr=False)
class Flip(Augmentation):
    """Mirror images left to right. Not suitable for digits and letters."""

    kind: ClassVar[str] = "flip"
    main: ClassVar[str] = "how"

    how: str = choice("random", "random", "alternate")
    """``random``: with probability one half. ``alternate``: at random in the first epoch, then
    switched in every epoch (Jordan 2024, section 3.6)."""

    def words(self) -> str:
        return "mirrored every second time" if self.how == "alternate" else "mirrored at random"


@dataclass(frozen=True, repr=False)
class Crop(Augmentation):
    """Crop the image's own size from the image with a reflected border: a shift by whole pixels,
    cheaper than ``shift``."""

    kind: ClassVar[str] = "crop"
    main: ClassVar[str] = "pixels"

    pixels: int = number(4, least=1, most=64)
    """Width of the border, which is also the largest shift, in pixels; uniform."""

    def check(self, height: int, width: int) -> None:
        if self.pixels >= min(height, width):
            raise UserError(
                f"crop = {self.pixels} is too much for images of {height}×{width} pixels"
            )

    def words(self) -> str:
        return f"shifted by up to {self.pixels} pixel{'' if self.pixels == 1 else 's'}"
