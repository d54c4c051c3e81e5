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
COMMUTES_WITH_MAX = {"relu", "leaky-relu"}
"""They never fall: the largest value of a window, then one of these, is the same to the bit as the
other way round, and a quarter of the work."""


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """max(0, x) and its relatives, for each number by itself."""

    kind: ClassVar[str] = "activation"
    title: ClassVar[str] = "activation"
    main: ClassVar[str] = "name"

    name: str = choice("relu", *ACTIVATIONS)
    """``leaky-relu`` has the slope 0.01 below zero (PyTorch's default)."""

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Activation as Module

        return Module(self.name)
