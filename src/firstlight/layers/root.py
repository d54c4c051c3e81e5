"""The square root of features, before the last layer of a network that starts with a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.layers.activation import Activation
from firstlight.layers.dense import Dense, Flatten
from firstlight.layers.dropout import Dropout
from firstlight.layers.layer import Layer, Shape
from firstlight.layers.pool import GlobalAveragePool, GlobalMaxPool
from firstlight.layers.sequence import flat

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class SquareRoot(Layer):
    """√(max(0, x) + epsilon) of each number.

    Features after a ReLU are small for most pictures and large for a few. The root brings them
    closer to a normal distribution, so a linear layer on it needs fewer pictures (Tukey 1977, the
    ladder of powers; Yang et al. 2021, equation 2, for few pictures).
    """

    kind: ClassVar[str] = "square-root"
    title: ClassVar[str] = "square root"
    does: ClassVar[str] = "Each number becomes its square root; numbers below zero become zero."

    _: KW_ONLY
    epsilon: float = number(1e-3, least=0.0, most=1.0, above=True)
    """Added before the root, so that the gradient is finite at zero."""

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import SquareRoot as Module

        return Module(self.epsilon)


def feature_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers that compute features: those before the last dense layer and before a
    square root directly in front of it. Return all layers if none is dense."""
    last = max((at for at, layer in enumerate(layers) if isinstance(layer, Dense)), default=None)
    if last is not None and last and isinstance(layers[last - 1], SquareRoot):
        last -= 1
    return tuple(layers[:last])


def never_negative(layers: Sequence[Layer]) -> bool:
    """Whether the output of the last layer is never negative: after a ReLU and layers that preserve
    this."""
    for layer in reversed(flat(layers)):
        if isinstance(layer, Activation):
            return layer.name in ("relu", "relu6", "sigmoid")
        if not isinstance(layer, GlobalAveragePool | GlobalMaxPool | Flatten | Dropout):
            return False
    return False
