"""Parts of convolutional backbones: convolutions with batch norm, inverted residuals."""

from dataclasses import dataclass

from firstlight.layers.activation import Activation
from firstlight.layers.blocks import Repeat, Residual
from firstlight.layers.conv import Conv
from firstlight.layers.layer import Layer
from firstlight.layers.norm import BatchNorm


@dataclass(frozen=True, kw_only=True)
class Style:
    """Settings that all convolutions of a network share."""

    norm: BatchNorm
    activation: str
    padding: str

    def conv(
        self,
        filters: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        bends: bool = True,
    ) -> tuple[Layer, ...]:
        """A convolution without bias, batch norm, and an activation if ``bends``."""
        conv = Conv(
            filters,
            kernel=kernel,
            stride=stride,
            padding=self.padding if kernel > 1 else "valid",
            depthwise=depthwise,
            bias=False,
        )
        return (conv, self.norm, *((Activation(self.activation),) if bends else ()))

    def inverted(
        self,
        channels: int,
        filters: int,
        *,
        expand: int,
        middle: int,
        start: int = 0,
        stride: int = 1,
    ) -> tuple[Layer, ...]:
        """An inverted residual: expansion to ``expand`` times the channels, a depthwise convolution
        with a kernel of side ``middle``, and a projection (Sandler et al. 2018, section 3.3).
        Another depthwise convolution of side ``start`` may come first. A side of 0 means none (Qin
        et al. 2024, section 3)."""
        wide = channels * expand
        return (
            *(self.conv(channels, start, depthwise=True, bends=False) if start else ()),
            *self.conv(wide),
            *(self.conv(wide, middle, stride, depthwise=True) if middle else ()),
            *self.conv(filters, bends=False),
        )


def repeated(block: tuple[Layer, ...], times: int) -> tuple[Layer, ...]:
    """A block with a residual connection, repeated."""
    residual = Residual(block, activation="none")
    return (Repeat(times, (residual,)),) if times > 1 else (residual,) * times
