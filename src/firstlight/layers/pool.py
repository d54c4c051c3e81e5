"""Pooling: one number per window or per map."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice, number
from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class _Pool(Layer):
    main: ClassVar[str] = "size"

    size: int = number(2, least=1, most=64)
    """Side of a window, in pixels."""
    _: KW_ONLY
    stride: int = number(0, least=0, most=64)
    """Step between neighbouring windows, in pixels; 0 for the window's side."""
    padding: str = choice("valid", "valid", "same")
    """``valid``: windows stay inside the maps, and leftover pixels at the edge are ignored.
    ``same``: windows at the edge count too, with only the pixels inside the maps."""

    @property
    def steps(self) -> tuple[int, int]:
        """Side of a window, and step between windows, in pixels."""
        return self.size, self.stride or self.size

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.steps

    def words(self) -> str:
        stride = f", stride {self.stride}" if self.stride not in (0, self.size) else ""
        same = ", same padding" if self.padding == "same" else ""
        return f"{self.title}, {self.size}×{self.size}{stride}{same}"

    def output(self, shape: Shape) -> Shape:
        height, width, channels = maps(self, shape)
        side, step = self.steps
        if self.padding == "same":
            return -(-height // step), -(-width // step), channels
        if min(height, width) < side:
            raise UserError(
                f"its window of {side}×{side} pixels is larger; use fewer or smaller pools, "
                'padding = "same", or larger images'
            )
        return (height - side) // step + 1, (width - side) // step + 1, channels


class MaxPool(_Pool):
    """The maximum of each window."""

    kind: ClassVar[str] = "max-pool"
    title: ClassVar[str] = "max-pooling"
    does: ClassVar[str] = (
        "Only the largest value of each small window is kept: the maps get smaller, and the "
        "exact position matters less."
    )

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import MaxPool as Module

        return Module(self, shape)


class AveragePool(_Pool):
    """The mean of each window."""

    kind: ClassVar[str] = "average-pool"
    title: ClassVar[str] = "average pooling"
    does: ClassVar[str] = (
        "The mean of each small window is kept: the maps get smaller and smoother."
    )

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import AveragePool as Module

        return Module(self, shape)


@dataclass(frozen=True, repr=False)
class GlobalMaxPool(Layer):
    """The maximum of each map: whether something was found, but not where."""

    kind: ClassVar[str] = "global-max-pool"
    title: ClassVar[str] = "global max-pooling"
    does: ClassVar[str] = (
        "Only the largest value of each whole map is kept: whether something was found, not where."
    )

    def window(self, shape: Shape) -> tuple[int, int]:
        return 0, 1

    def output(self, shape: Shape) -> Shape:
        return (maps(self, shape)[2],)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import GlobalMaxPool as Module

        return Module()


@dataclass(frozen=True, repr=False)
class GlobalAveragePool(Layer):
    """The mean of each map (Lin et al. 2014, section 3.2)."""

    kind: ClassVar[str] = "global-average-pool"
    title: ClassVar[str] = "global average pooling"
    does: ClassVar[str] = (
        "The mean of each whole map is kept: how much of something was found, not where."
    )

    def window(self, shape: Shape) -> tuple[int, int]:
        return 0, 1

    def output(self, shape: Shape) -> Shape:
        return (maps(self, shape)[2],)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import GlobalAveragePool as Module

        return Module()
