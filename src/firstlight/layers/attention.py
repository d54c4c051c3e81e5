"""The layers of a vision transformer: tokens, and attention between them.

Tokens have the shape ``(T, F)``: T tokens of F features each. Dense layers, layer norm, activations
and dropout act on each token separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Tokens(Layer):
    """Turn each position of the maps into a token, put a trained class token in front, and add a
    trained position embedding to each token (Dosovitskiy et al. 2021, equation 1).

    The patch embedding before this layer is a convolution whose stride equals its kernel.
    """

    kind: ClassVar[str] = "tokens"
    title: ClassVar[str] = "tokens"
    one_size: ClassVar[bool] = True
    does: ClassVar[str] = (
        "Each position becomes a token: the list of its numbers in all maps. A trained position "
        "embedding is added. One more token, the class token, is put in front."
    )

    def words(self) -> str:
        return "tokens of all positions and a class token, with position embedding"

    def output(self, shape: Shape) -> Shape:
        height, width, channels = maps(self, shape)
        return height * width + 1, channels

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.attention import Tokens as Module

        return Module(self, shape, rng)


@dataclass(frozen=True, repr=False)
class Attention(Layer):
    """Multi-head self-attention: in each head, each token becomes a weighted mean of all tokens
    (Vaswani et al. 2017, section 3.2.2)."""

    kind: ClassVar[str] = "attention"
    title: ClassVar[str] = "self-attention"
    main: ClassVar[str] = "heads"
    does: ClassVar[str] = (
        "Each token looks at all tokens and takes information from those that match it, so one "
        "position can use what is at another."
    )

    heads: int = number(8, least=1, most=256)
    """Number of heads. Each gets an equal share of the features."""

    def words(self) -> str:
        return f"{self.title}, {self.heads} head{'' if self.heads == 1 else 's'}"

    def window(self, shape: Shape) -> tuple[int, int]:
        return 0, 1

    def output(self, shape: Shape) -> Shape:
        _, features = tokens(shape)
        if features % self.heads:
            raise UserError(
                f"{features} features cannot be split among {self.heads} heads. Choose a number "
                "of heads that divides them"
            )
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        count, features = tokens(shape)
        return 4 * count * features**2 + 2 * count**2 * features

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.attention import Attention as Module

        return Module(self, shape, rng)


@dataclass(frozen=True, repr=False)
class ClassToken(Layer):
    """Keep only the class token, as features (Dosovitskiy et al. 2021, equation 4)."""

    kind: ClassVar[str] = "class-token"
    title: ClassVar[str] = "class token"
    does: ClassVar[str] = "Only the class token, which has seen all others, is passed on."

    def output(self, shape: Shape) -> Shape:
        return (tokens(shape)[1],)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.attention import ClassToken as Module

        return Module()


def tokens(shape: Shape) -> tuple[int, int]:
    """Return the number of tokens and of their features. Raises ``UserError`` for other shapes."""
    if len(shape) != 2:
        raise UserError("it needs tokens; put it after the layer that makes them, tokens = true")
    return shape[0], shape[1]
