"""The base class of all augmentations: a value that says how to change each training image.

The change is drawn again each time the image is seen. An augmentation is a frozen dataclass of
settings. It needs no PyTorch; only its ``apply`` imports it. Axes: B images, C channels, H height,
W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firstlight.parts import Part

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Seen:
    """What an augmentation knows about a batch, apart from its pixels."""

    mirrored_B: Tensor
    """bool: images that an alternating flip mirrors in this epoch."""
    mean_C: tuple[float, ...]
    """Channel means that were subtracted from pixels in [0, 1]."""
    std_C: tuple[float, ...]
    """Channel standard deviations by which the pixels were then divided."""

    def on_pixels(self, change: Callable[[Tensor], Tensor], pixels_BCHW: Tensor) -> Tensor:
        """Apply ``change`` to the pixels as values in [0, 1], clip the result, and normalize it
        again."""
        mean_C11, std_C11 = (per_channel(pixels_BCHW, one) for one in (self.mean_C, self.std_C))
        plain_BCHW = change(pixels_BCHW * std_C11 + mean_C11).clamp_(0, 1)
        return (plain_BCHW - mean_C11) / std_C11


def per_channel(pixels_BCHW: Tensor, values: Sequence[float]) -> Tensor:
    """Return a number for each channel, C×1×1, on the device of the pixels.

    The numbers are filled in there: copying them would make a GPU wait in each step.
    """
    import torch

    return torch.stack([pixels_BCHW.new_full((1, 1), value) for value in values])


@dataclass(frozen=True, repr=False)
class Augmentation(Part):
    """One change of the images in a batch. Subclasses define ``apply`` or belong to a group."""

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        """Return the changed images. The input is not changed."""
        raise TypeError(f"{self.kind} is applied by its group")  # for mixes and geometric changes

    def words(self) -> str:
        """Describe the change, as the rest of a sentence that begins "each image is"."""
        raise TypeError(f"{self.kind} has no description")

    def check(self, height: int, width: int) -> None:
        """Raise ``UserError`` if images of this size cannot be changed this way."""
