"""Activations: element-wise functions.

Sources: ``leaky-relu`` Maas et al. 2013, ``elu`` Clevert et al. 2016, ``gelu`` Hendrycks and Gimpel
2016, ``silu`` Elfwing et al. 2018, ``relu6`` Krizhevsky 2010, ``hard-swish`` Howard et al. 2019,
section 5.2.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice, number
from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape

if TYPE_CHECKING:
    from torch import Generator, nn

ACTIVATIONS = (
    *("relu", "leaky-relu", "relu6", "elu", "gelu", "silu", "hard-swish", "sigmoid", "tanh"),
)
LABELS = {
    "relu": "ReLU",
    "leaky-relu": "leaky ReLU",
    "relu6": "ReLU6",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "hard-swish": "hard swish",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
}
DOES = {
    "relu": "Values below zero become zero: only what a filter found is passed on.",
    "relu6": "Values below zero become zero, values above 6 become 6. The rest is unchanged.",
    "elu": "Values above zero are unchanged. Values below bend towards -1.",
    "gelu": "Values well below zero become almost zero, values above stay almost the same.",
    "silu": "Values well below zero become almost zero, values above stay almost the same.",
    "hard-swish": "Values below -3 become zero, values above 3 are unchanged, with a bend between.",
    "sigmoid": "Each number is squeezed into the range from 0 to 1.",
    "tanh": "Each number is squeezed into the range from -1 to 1.",
}
SLOPE = 0.01
"""Default slope of ``leaky-relu`` below zero."""
COMMUTES_WITH_MAX = {"relu", "leaky-relu", "relu6"}
"""Activations that never decrease. They commute with max-pooling to the bit: pooling first gives
the same result for a quarter of the work."""
SOFTMAX = (
    "leave out softmax: the last layer gives scores (logits), and firstlight turns them into "
    "probabilities itself"
)


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """max(0, x) or a relative of it, applied to each number."""

    kind: ClassVar[str] = "activation"
    title: ClassVar[str] = "activation"
    main: ClassVar[str] = "name"
    bends: ClassVar[bool] = True

    name: str = choice("relu", *ACTIVATIONS)
    """Which function."""
    _: KW_ONLY
    slope: float = number(SLOPE, least=0.0, most=1.0)
    """Slope of ``leaky-relu`` below zero; the default is PyTorch's."""

    def __post_init__(self) -> None:
        if self.name == "softmax":
            raise UserError(SOFTMAX)
        super().__post_init__()
        if self.slope != SLOPE and self.name != "leaky-relu":
            raise UserError(f"slope is only for leaky-relu; leave it out with {self.name}")

    def label(self) -> str:
        return LABELS[self.name]

    def says(self) -> str:
        if self.name == "leaky-relu":
            return f"Values below zero are multiplied by {self.slope:g}. The rest is unchanged."
        return DOES[self.name]

    def words(self) -> str:
        return self.label() + (f", slope {self.slope:g}" if self.slope != SLOPE else "")

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Activation as Module

        return Module(self.name, self.slope)


def followed_by(activation: str) -> str:
    """The end of a layer's description if an activation follows it."""
    return "" if activation == "none" else f", then {LABELS[activation]}"
