"""The layers that a network can have, each a value that needs no PyTorch.

``LAYERS`` is the one table of them: it maps the name in a recipe to the class. To add a layer,
write its class and add one line to the table.
"""

from firstlight.layers.activation import Activation
from firstlight.layers.attention import Attention, ClassToken, Tokens
from firstlight.layers.blocks import Branches, Repeat, Residual
from firstlight.layers.conv import Conv
from firstlight.layers.dense import Dense, Flatten
from firstlight.layers.dropout import Dropout, SpatialDropout
from firstlight.layers.layer import CLASSES, Layer, Shape
from firstlight.layers.norm import BatchNorm, GroupNorm, LayerNorm
from firstlight.layers.pool import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from firstlight.layers.rescale import LayerScale, Rescale
from firstlight.layers.resize import Resize
from firstlight.layers.root import SquareRoot
from firstlight.layers.squeeze import SqueezeExcite
from firstlight.layers.whiten import Whiten

__all__ = [
    "CLASSES",
    "LAYERS",
    "Activation",
    "Attention",
    "AveragePool",
    "BatchNorm",
    "Branches",
    "ClassToken",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "LayerScale",
    "MaxPool",
    "Repeat",
    "Rescale",
    "Residual",
    "Resize",
    "Shape",
    "SpatialDropout",
    "SquareRoot",
    "SqueezeExcite",
    "Tokens",
    "Whiten",
]

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Conv,
        Dense,
        Flatten,
        MaxPool,
        AveragePool,
        GlobalMaxPool,
        GlobalAveragePool,
        BatchNorm,
        GroupNorm,
        LayerNorm,
        Dropout,
        SpatialDropout,
        Activation,
        Rescale,
        LayerScale,
        SquareRoot,
        Resize,
        Whiten,
        SqueezeExcite,
        Tokens,
        Attention,
        ClassToken,
        Residual,
        Branches,
        Repeat,
    )
}
