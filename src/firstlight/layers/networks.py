"""Lists of layers for the two networks that named recipes are made of."""

from firstlight.layers.activation import Activation
from firstlight.layers.conv import Conv
from firstlight.layers.dense import Dense, Flatten
from firstlight.layers.dropout import Dropout
from firstlight.layers.layer import Layer
from firstlight.layers.norm import BatchNorm
from firstlight.layers.pool import GlobalMaxPool, MaxPool
from firstlight.layers.rescale import Rescale
from firstlight.layers.whiten import Whiten


def tutorial(
    widths: tuple[int, ...] = (32, 64),
    *,
    dense: int = 64,
    kernel: int = 3,
    pool_last: bool = True,
    dropout: float = 0.0,
) -> tuple[Layer, ...]:
    """The classic tutorial's: convolutions without padding, each with ReLU and a 2×2 max-pool, then
    two dense layers.

    MNIST with widths 32, 64 and dense 64 has 121,930 parameters; CIFAR-10 with widths 32, 64, 128,
    no last pool and dense 128 has 356,810. ``kernel`` is of the first convolution.
    """
    layers: list[Layer] = []
    for number, filters in enumerate(widths, start=1):
        layers.append(Conv(filters, kernel=kernel if number == 1 else 3, activation="relu"))
        if number < len(widths) or pool_last:
            layers.append(MaxPool(2))
    layers += [Flatten(), Dense(dense, activation="relu")]
    return (*layers, *_dropout(dropout), Dense("classes"))


def whitened(
    widths: tuple[int, ...],
    *,
    stem: Whiten,
    activation: str = "gelu",
    pool_last: bool = True,
    dropout: float = 0.0,
    scale: float = 0.01,
) -> tuple[Layer, ...]:
    """A whitening stem, groups of two 3×3 convolutions, and one dense layer without bias.

    After Jordan 2024, section 3. The first convolution of a group widens, and its output is halved
    in size. The dense layer sees the largest value of each of the last maps, or with ``pool_last``
    off every place of them; its scores are multiplied by ``scale``.
    """
    layers: list[Layer] = [stem, Activation(activation)]
    after = (BatchNorm(momentum=0.4, scale=False), Activation(activation))
    for filters in widths:
        conv = Conv(filters, padding="same", bias=False, init="dirac")
        layers += [conv, MaxPool(2), *after, conv, *after]
    layers.append(GlobalMaxPool() if pool_last else Flatten())
    last = Dense("classes", bias=False, init="lecun")
    return (*layers, *_dropout(dropout), last, Rescale(scale))


def _dropout(share: float) -> tuple[Layer, ...]:
    return (Dropout(share),) if share else ()
