"""The whitening stem: a first convolution whose filters come from the training images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Whiten(Layer):
    """Filters that give every direction of a patch unit variance; then the same filters negated.

    They are computed from training images before the first step and are not trained (Jordan 2024,
    section 3.2; ``models/whitening.py``).
    """

    kind: ClassVar[str] = "whiten"
    title: ClassVar[str] = "whitening convolution"
    main: ClassVar[str] = "filters"
    does: ClassVar[str] = (
        "Each map is the response of one filter at every position. These filters are computed "
        "from the training images so that no two maps carry the same information; they are not "
        "trained."
    )

    filters: int = number(24, least=2, most=1024)
    """Output channels. The second half are the first half's filters with the sign flipped."""
    _: KW_ONLY
    kernel: int = number(2, least=1, most=11)
    """Side of a patch, in pixels."""
    stride: int = number(1, least=1, most=4)
    """Step between neighbouring patches, in pixels."""
    bias: bool = False
    """Whether each channel has a trained bias."""

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, self.stride

    def words(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.title}, {self.filters} filters of {self.kernel}×{self.kernel}{stride}"

    def output(self, shape: Shape) -> Shape:
        height, width, channels = maps(self, shape)
        most = 2 * channels * self.kernel**2
        if self.filters % 2 or self.filters > most:
            raise UserError(
                f"filters must be even and at most {most} (twice the "
                f"{self.kernel}×{self.kernel}×{channels} numbers of a patch), not {self.filters}"
            )
        if min(height, width) < self.kernel:
            raise UserError(
                f"its patch of {self.kernel}×{self.kernel} pixels is larger; use a smaller kernel "
                "or larger images"
            )
        down, right = ((side - self.kernel) // self.stride + 1 for side in (height, width))
        return down, right, self.filters

    def multiply_adds(self, shape: Shape) -> int:
        height, width, filters = self.output(shape)
        return height * width * filters * self.kernel**2 * shape[2]

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.whitening import Whitening

        return Whitening(self, shape)
