"""What all augmentations have in common: a value that says how each training image is changed, anew
each time it is seen.

An augmentation is a frozen dataclass of choices and needs no PyTorch; its ``apply`` alone imports
it. Axes: B images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firstlight.parts import Part

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Seen:
    """What is known of a batch beside its pixels."""

    epoch: int
    """From 0 on."""
    first_flip_B: Tensor
    """bool: which images an alternating flip mirrors in even epochs."""
    mean_C: tuple[float, ...]
    """What was taken from pixels of 0 to 1."""
    std_C: tuple[float, ...]
    """What they were then divided by."""

    def on_pixels(self, change: Callable[[Tensor], Tensor], pixels_BCHW: Tensor) -> Tensor:
        """``change`` of the pixels as 0 to 1, cut off at both ends, brought back again."""
        mean_C11, std_C11 = (
            pixels_BCHW.new_tensor(values)[:, None, None] for values in (self.mean_C, self.std_C)
        )
        plain_BCHW = change(pixels_BCHW * std_C11 + mean_C11).clamp_(0, 1)
        return (plain_BCHW - mean_C11) / std_C11


@dataclass(frozen=True, repr=False)
class Augmentation(Part):
    """One change of the images of a batch. Subclasses define ``apply`` or belong to a group."""

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        """The changed images; what came in is left as it was."""
        raise TypeError(f"{self.kind} is applied by its group")  # of mixes and of one resampling

    def words(self) -> str:
        """What happens to an image, to be read after "each image is"."""
        raise TypeError(f"{self.kind} has no description")

    def check(self, height: int, width: int) -> None:
        """Raise ``UserError`` where images of this size cannot be changed so."""
