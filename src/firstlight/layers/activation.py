"""Activations: one number in, one number out.

``leaky-relu`` after Maas et al. 2013, ``elu`` after Clevert et al. 2016, ``gelu`` after Hendrycks
and Gimpel 2016, ``silu`` after Elfwing et al. 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice
from firstlight.layers.layer import Layer, Shape

if TYPE_CHECKING:
    from torch import Generator, nn

ACTIVATIONS = ("relu", "leaky-relu", "elu", "gelu", "silu", "sigmoid", "tanh")
LABELS = {
    "relu": "ReLU",
    "leaky-relu": "leaky ReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
}
DOES = {
    "relu": "What is below zero becomes zero: only what a filter found goes on.",
    "leaky-relu": "What is below zero is divided by a hundred. What is above stays as it is.",
    "elu": "What is above zero stays as it is. What is below is bent towards -1.",
    "gelu": "What lies well below zero becomes nearly zero, what lies above stays nearly as it is.",
    "silu": "What lies well below zero becomes nearly zero, what lies above stays nearly as it is.",
    "sigmoid": "Each number is squeezed into the range from 0 to 1.",
    "tanh": "Each number is squeezed into the range from -1 to 1.",
}
COMMUTES_WITH_MAX = {"relu", "leaky-relu"}
"""They never fall: the largest value of a window, then one of these, is the same to the bit as the
other way round, and a quarter of the work."""


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """max(0, x) and its relatives, for each number by itself."""

    kind: ClassVar[str] = "activation"
    title: ClassVar[str] = "activation"
    main: ClassVar[str] = "name"
    bends: ClassVar[bool] = True

    name: str = choice("relu", *ACTIVATIONS)
    """``leaky-relu`` has the slope 0.01 below zero (PyTorch's default)."""

    def label(self) -> str:
        return LABELS[self.name]

    def says(self) -> str:
        return DOES[self.name]

    def words(self) -> str:
        return self.label()

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Activation as Module

        return Module(self.name)


def followed_by(activation: str) -> str:
    """What a layer's words end with where an activation follows."""
    return "" if activation == "none" else f", then {LABELS[activation]}"
