"""A layer that resizes images inside the network."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Resize(Layer):
    """Resize to square maps of one size by cubic interpolation (Keys 1981), antialiased when
    shrinking, like Pillow's BICUBIC. A network trained on large pictures can thus take small ones.
    Receptive fields after this layer are in pixels of the new size."""

    kind: ClassVar[str] = "resize"
    title: ClassVar[str] = "resize"
    main: ClassVar[str] = "side"
    does: ClassVar[str] = "The image is resized."

    side: int = number(224, least=1, most=4096)
    """Output height and width, in pixels."""
    _: KW_ONLY
    channels: int = number(0, least=0, most=3)
    """3 repeats a grey image as red, green and blue; 0 keeps the channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in (0, 3):
            raise UserError(f"channels must be 0 or 3, not {self.channels}")

    def words(self) -> str:
        more = ", grey as three channels" if self.channels else ""
        return f"{self.title} to {self.side}×{self.side}{more}"

    def output(self, shape: Shape) -> Shape:
        channels = maps(self, shape)[2]
        if self.channels and channels not in (1, self.channels):
            raise UserError(
                f"it turns 1 channel into 3, but its input has {channels}; leave channels out"
            )
        return self.side, self.side, self.channels or channels

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Resize as Module

        return Module(self)

    def window(self, shape: Shape) -> tuple[int, int]:
        return 4, 1
