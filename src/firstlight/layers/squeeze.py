"""Squeeze-and-excitation: maps weighted by the content of all maps."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice, number
from firstlight.errors import UserError
from firstlight.layers.activation import ACTIVATIONS, LABELS
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class SqueezeExcite(Layer):
    """Multiply each map by a number from 0 to 1 that two dense layers compute from the means of all
    maps (Hu et al. 2018, section 3)."""

    kind: ClassVar[str] = "squeeze-excite"
    title: ClassVar[str] = "squeeze-and-excitation"
    main: ClassVar[str] = "reduction"
    does: ClassVar[str] = (
        "Each map is multiplied by a number from 0 to 1, which is computed from the means of "
        "all maps: what matters in this picture is kept, the rest is weakened."
    )

    reduction: int = number(16, least=1, most=1024)
    """The first dense layer has channels / reduction units."""
    _: KW_ONLY
    activation: str = choice("relu", *ACTIVATIONS)
    """Activation of the first dense layer; the second has a sigmoid."""

    def units(self, shape: Shape) -> int:
        """Return the units of the first dense layer. Raises ``UserError`` if the channels are too
        few."""
        channels = maps(self, shape)[2]
        if channels < self.reduction:
            raise UserError(
                f"{channels} channels over a reduction of {self.reduction} leave no units. Use a "
                f"reduction of {channels} or less"
            )
        return channels // self.reduction

    def words(self) -> str:
        return f"{self.title}, reduction {self.reduction}, {LABELS[self.activation]}"

    def window(self, shape: Shape) -> tuple[int, int]:
        return 0, 1

    def output(self, shape: Shape) -> Shape:
        self.units(shape)
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        return 2 * shape[2] * self.units(shape)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import SqueezeExcite as Module

        return Module(self, shape, rng)
