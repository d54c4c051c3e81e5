"""Every number times a fixed one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.layers.layer import Layer, Shape

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Rescale(Layer):
    """x · factor + offset. Behind the last layer, it sets how sharp the first answers are."""

    kind: ClassVar[str] = "rescale"
    title: ClassVar[str] = "rescale"
    main: ClassVar[str] = "factor"
    does: ClassVar[str] = "Every number is multiplied by the same fixed one."

    factor: float = number(1.0, least=-1e6, most=1e6)
    """What each number is multiplied by."""
    _: KW_ONLY
    offset: float = number(0.0, least=-1e6, most=1e6)
    """What is then added."""

    def words(self) -> str:
        more = f" {'-' if self.offset < 0 else '+'} {abs(self.offset):g}" if self.offset else ""
        return f"{self.title}, × {self.factor:g}{more}"

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Rescale as Module

        return Module(self)
