"""Layers that multiply by a fixed factor, or each channel by a trained one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.layers.layer import Layer, Shape

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Rescale(Layer):
    """x · factor + offset. After the last layer, it sets how confident the first predictions
    are."""

    kind: ClassVar[str] = "rescale"
    title: ClassVar[str] = "rescale"
    main: ClassVar[str] = "factor"
    does: ClassVar[str] = "Every number is multiplied by the same fixed number."

    factor: float = number(1.0, least=-1e6, most=1e6)
    """Factor for each number."""
    _: KW_ONLY
    offset: float = number(0.0, least=-1e6, most=1e6)
    """Added after the multiplication."""

    def words(self) -> str:
        more = f" {'-' if self.offset < 0 else '+'} {abs(self.offset):g}" if self.offset else ""
        return f"{self.title}, × {self.factor:g}{more}"

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Rescale as Module

        return Module(self)


@dataclass(frozen=True, repr=False)
class LayerScale(Layer):
    """Multiply each channel or feature by its own trained factor, which starts small (Touvron et
    al. 2021, section 2). At the end of a residual block, it makes the block start close to the
    identity."""

    kind: ClassVar[str] = "layer-scale"
    title: ClassVar[str] = "layer scale"
    main: ClassVar[str] = "start"
    does: ClassVar[str] = "Each map, or feature, is multiplied by its own trained number."

    start: float = number(1e-5, least=-1e6, most=1e6)
    """Initial value of each factor."""

    def words(self) -> str:
        return self.title

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import LayerScale as Module

        return Module(self, shape)
