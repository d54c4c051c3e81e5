"""The modules of a vision transformer's layers.

Axes: N images, C channels, H height, W width, T tokens, F features, h heads.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from firstlight.layers.attention import Attention as AttentionChoice
from firstlight.layers.attention import Tokens as TokensChoice
from firstlight.layers.dense import Dense
from firstlight.layers.layer import Shape
from firstlight.models.modules import dense

DEVIATION = 0.02
"""Standard deviation of the initial position embedding (Dosovitskiy et al. 2021, published
code)."""


class Tokens(nn.Module):
    """N×C×H×W to N×T×F: the class token, then the positions row by row."""

    def __init__(self, choice: TokensChoice, shape: Shape, rng: Generator) -> None:
        super().__init__()
        count, features = choice.output(shape)
        self.grid = (shape[0], shape[1])
        self.class_token = nn.Parameter(torch.zeros(features))
        self.positions = nn.Parameter(torch.empty(count, features))
        if not self.positions.is_meta:
            nn.init.normal_(self.positions, std=DEVIATION, generator=rng)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        places_NTF = maps_NCHW.flatten(2).transpose(1, 2)
        first_1F = self.positions[:1] + self.class_token
        # Use padding: an exported file would copy the class token with an operator that takes any
        # size.
        return pad(places_NTF, (0, 0, 1, 0)) + torch.cat([first_1F, self.positions[1:]])


class Attention(nn.Module):
    """softmax(q·k / √width)·v for each head, then a dense layer over the concatenated heads."""

    def __init__(self, choice: AttentionChoice, shape: Shape, rng: Generator) -> None:
        super().__init__()
        self.heads, features = choice.heads, shape[1]
        for name in ("query", "key", "value", "output"):
            self.add_module(name, dense(Dense(features), (features,), rng))

    def forward(self, tokens_NTF: Tensor) -> Tensor:
        queries, keys, values = (
            self.get_submodule(name)(tokens_NTF).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        cuda = tokens_NTF.device.type == "cuda"
        with _repeatable_gradient() if self.training and cuda else nullcontext():
            found_NhTw = scaled_dot_product_attention(queries, keys, values)
        joined_NTF: Tensor = self.get_submodule("output")(found_NhTw.transpose(1, 2).flatten(2))
        return joined_NTF


def _repeatable_gradient() -> AbstractContextManager[None]:
    """Use plain matrix products: on CUDA, the gradients of the faster kernels are added in any
    order."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


class ClassToken(nn.Module):
    """N×T×F to N×F: the first token."""

    def forward(self, tokens_NTF: Tensor) -> Tensor:
        return tokens_NTF[:, 0]
