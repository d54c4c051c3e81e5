"""Convolution layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice, number
from firstlight.errors import UserError
from firstlight.layers.activation import ACTIVATIONS, Activation, followed_by
from firstlight.layers.initial import INITIAL
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn

MOST_STRIDE = 64


@dataclass(frozen=True, repr=False)
class Conv(Layer):
    """A 2D convolution: at every position, each filter's weighted sum of the pixels below it.

    LeCun et al. 1989.
    """

    kind: ClassVar[str] = "conv"
    title: ClassVar[str] = "convolution"
    main: ClassVar[str] = "filters"
    does: ClassVar[str] = (
        "Each map is the response of one filter at every position: above zero where the picture "
        "matches the filter, below zero where it matches the opposite."
    )

    filters: int = number(32, least=1, most=16384)
    """Number of filters, which is the number of output channels."""
    _: KW_ONLY
    kernel: int = number(3, least=1, most=64)
    """Side of each filter, in pixels."""
    stride: int = number(1, least=1, most=MOST_STRIDE)
    """Step between neighbouring positions, in pixels."""
    padding: str = choice("valid", "valid", "same", "half")
    """``valid``: filters stay inside the maps. ``same``: zeros around the maps, so that a stride of
    1 keeps their size; an odd zero goes after the pixels, as in TensorFlow and Keras. ``half``:
    half a window of zeros on every side (Dumoulin and Visin 2016, section 2.3), the usual choice in
    PyTorch. It differs from ``same`` if the stride is above 1 or the window is even."""
    dilation: int = number(1, least=1, most=64)
    """Distance between the pixels below a filter, in pixels."""
    groups: int = number(1, least=1, most=16384)
    """Number of groups for channels and filters. A filter sees only the channels of its group."""
    depthwise: bool = False
    """Convolve each channel separately (Howard et al. 2017, section 3.1): one group per input
    channel, and ``filters`` is a multiple of the channels."""
    bias: bool = True
    """Whether each output channel has a trained bias."""
    activation: str = choice("none", "none", *ACTIVATIONS)
    """The activation after the convolution."""
    init: str = choice("glorot", *INITIAL)
    """How to initialize the weights."""

    @property
    def reach(self) -> int:
        """Side of the window that one output pixel sees, in input pixels."""
        return self.dilation * (self.kernel - 1) + 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.reach, self.stride

    def label(self) -> str:
        return "depthwise convolution" if self.depthwise else self.title

    def words(self) -> str:
        parts = [f"{self.label()}, {self.filters} filters of {self.kernel}×{self.kernel}"]
        parts += [f"stride {self.stride}"] if self.stride > 1 else []
        parts += [f"dilation {self.dilation}"] if self.dilation > 1 else []
        parts += [f"{self.groups} groups"] if self.groups > 1 else []
        parts += [f"{self.padding} padding"] if self.padding != "valid" else []
        return ", ".join(parts) + followed_by(self.activation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depthwise and self.groups != 1:
            raise UserError("depthwise = true needs groups = 1, because it sets the groups itself")

    def grouped(self, channels: int) -> int:
        """Return the number of groups for ``channels`` channels. Raises ``UserError`` if they do
        not fit."""
        groups = channels if self.depthwise else self.groups
        for what, count in (("channels", channels), ("filters", self.filters)):
            if count % groups:
                how = "depthwise = true makes" if self.depthwise else "it has"
                raise UserError(
                    f"{how} {groups} groups, and {count} {what[:-1] if count == 1 else what} "
                    f"cannot be split into {groups} equal parts"
                )
        return groups

    def output(self, shape: Shape) -> Shape:
        height, width, channels = maps(self, shape)
        self.grouped(channels)
        if self.padding == "same":
            return -(-height // self.stride), -(-width // self.stride), self.filters
        if self.padding == "half":
            height, width = (side + 2 * (self.reach // 2) for side in (height, width))
        if min(height, width) < self.reach:
            raise UserError(
                f"its window of {self.reach}×{self.reach} pixels is larger; use a smaller kernel, "
                'padding = "same", or fewer pools and strides before it'
            )
        down, right = ((side - self.reach) // self.stride + 1 for side in (height, width))
        return down, right, self.filters

    def multiply_adds(self, shape: Shape) -> int:
        height, width, filters = self.output(shape)
        return height * width * filters * self.kernel**2 * (shape[2] // self.grouped(shape[2]))

    def parts(self) -> tuple[Layer, ...]:
        if self.activation == "none":
            return (self,)
        return replace(self, activation="none"), Activation(self.activation)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import convolution

        return convolution(self, shape, rng)


def zeros_around(size: int, side: int, stride: int) -> tuple[int, int]:
    """Return how many zeros ``same`` padding puts before and after ``size`` pixels.

    ``side`` is the side of the window. An odd zero goes after the pixels, as in TensorFlow.
    """
    total = max(0, (-(-size // stride) - 1) * stride + side - size)
    return total // 2, total - total // 2
