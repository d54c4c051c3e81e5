"""The layer lists of the two networks behind the named recipes."""

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
    """Return the classic tutorial's network: convolutions without padding, each with ReLU and 2×2
    max-pooling, then two dense layers.

    For MNIST with widths 32, 64 and dense 64 it has 121,930 parameters. For CIFAR-10 with widths
    32, 64, 128, no last pool and dense 128 it has 356,810. ``kernel`` applies to the first
    convolution.
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
    """Return a whitening stem, groups of two 3×3 convolutions, and one dense layer without bias.

    After Jordan 2024, section 3. The first convolution of each group widens, and pooling halves the
    size of its output. The dense layer sees the maximum of each of the last maps or, if
    ``pool_last`` is off, every position of them. Its scores are multiplied by ``scale``.
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
