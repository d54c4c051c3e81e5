"""Dropout: random inputs are set to zero in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Zero each number with this probability; scale up the others (Srivastava et al. 2014)."""

    kind: ClassVar[str] = "dropout"
    title: ClassVar[str] = "dropout"
    main: ClassVar[str] = "share"
    does: ClassVar[str] = (
        "In training, a random share of the numbers is set to zero. In prediction, none is."
    )

    share: float = number(0.5, least=0.0, most=0.95)
    """Probability."""

    def words(self) -> str:
        return f"{self.title}, {100 * self.share:g} %"

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.blocks import Dropout as Module

        return Module(self.share)


@dataclass(frozen=True, repr=False)
class SpatialDropout(Layer):
    """Zero each whole map with this probability (Tompson et al. 2015, section 3.2)."""

    kind: ClassVar[str] = "spatial-dropout"
    title: ClassVar[str] = "spatial dropout"
    main: ClassVar[str] = "share"
    does: ClassVar[str] = (
        "In training, a random share of the maps is set to zero. In prediction, none is."
    )

    share: float = number(0.2, least=0.0, most=0.95)
    """Probability."""

    def words(self) -> str:
        return f"{self.title}, {100 * self.share:g} %"

    def output(self, shape: Shape) -> Shape:
        return maps(self, shape)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.blocks import Dropout as Module

        return Module(self.share, whole_maps=True)
