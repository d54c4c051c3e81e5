"""MobileNetV4, small and medium, of convolutions only (Qin et al. 2024, tables 11 and 12).

The weights are timm's, because the paper's were not published.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import NamedTuple

from firstlight.backbones.backbone import Backbone, HubFile, Naming
from firstlight.backbones.blocks import Style, repeated
from firstlight.layers.activation import Activation
from firstlight.layers.dense import Dense
from firstlight.layers.layer import Layer
from firstlight.layers.norm import BatchNorm
from firstlight.layers.pool import GlobalAveragePool

STYLE = Style(norm=BatchNorm(), activation="relu", padding="half")


class Block(NamedTuple):
    """A universal inverted bottleneck."""

    filters: int
    expand: int
    """Multiplier of the input channels."""
    start: int
    """Side of the first depthwise convolution; 0 for none."""
    middle: int
    """Side of the middle depthwise convolution; 0 for none."""
    stride: int = 1


SMALL: tuple[tuple[Block, ...], ...] = (
    (Block(96, 3, 5, 5, 2), *(Block(96, 2, 0, 3),) * 4, Block(96, 4, 3, 0)),
    (
        *(Block(128, 6, 3, 3, 2), Block(128, 4, 5, 5), Block(128, 4, 0, 5), Block(128, 3, 0, 5)),
        *(Block(128, 4, 0, 3),) * 2,
    ),
)
MEDIUM: tuple[tuple[Block, ...], ...] = (
    (Block(80, 4, 3, 5, 2), Block(80, 2, 3, 3)),
    (
        *(Block(160, 6, 3, 5, 2), Block(160, 4, 3, 3), Block(160, 4, 3, 3), Block(160, 4, 3, 5)),
        *(Block(160, 4, 3, 3), Block(160, 4, 3, 0), Block(160, 2, 0, 0), Block(160, 4, 3, 0)),
    ),
    (
        *(Block(256, 6, 5, 5, 2), Block(256, 4, 5, 5), *(Block(256, 4, 3, 5),) * 2),
        *(Block(256, 4, 0, 0), Block(256, 4, 3, 0), Block(256, 2, 3, 5), Block(256, 4, 5, 5)),
        *(*(Block(256, 4, 0, 0),) * 2, Block(256, 2, 5, 0)),
    ),
)


def small() -> tuple[Layer, ...]:
    """Return the layers of the small network for images of 224×224×3."""
    stem = (*STYLE.conv(32, 3, 2), *STYLE.conv(32, 3, 2), *STYLE.conv(32))
    return (*stem, *STYLE.conv(96, 3, 2), *STYLE.conv(64), *_blocks(64, SMALL), *_head())


def medium() -> tuple[Layer, ...]:
    """Return the layers of the medium network for images of 224×224×3."""
    stem = (*STYLE.conv(32, 3, 2), *STYLE.conv(128, 3, 2), *STYLE.conv(48, bends=False))
    return (*stem, *_blocks(48, MEDIUM), *_head())


def _head() -> tuple[Layer, ...]:
    dense = (Dense(1280, bias=False), STYLE.norm, Activation(STYLE.activation))
    return (*STYLE.conv(960), GlobalAveragePool(), *dense, Dense("classes"))


def _blocks(channels: int, stages: Iterable[Iterable[Block]]) -> Iterator[Layer]:
    """Yield blocks, with consecutive equal blocks as one repeat."""
    for block, same in groupby(one for stage in stages for one in stage):
        layers = STYLE.inverted(
            channels,
            block.filters,
            expand=block.expand,
            start=block.start,
            middle=block.middle,
            stride=block.stride,
        )
        adds = block.stride == 1 and block.filters == channels
        yield from repeated(layers, len(list(same))) if adds else layers
        channels = block.filters


def _names(stem: tuple[str, ...], stages: Iterable[Iterable[Block]], first: int) -> Iterator[str]:
    yield from ("conv_stem", "bn1", *(f"blocks.{one}" for one in stem))
    number = first
    for number, stage in enumerate(stages, start=first):
        for at, block in enumerate(stage):
            parts = ("dw_start",) * bool(block.start) + ("pw_exp",)
            for part in (*parts, *("dw_mid",) * bool(block.middle), "pw_proj"):
                yield from (f"blocks.{number}.{at}.{part}.{one}" for one in ("conv", "bn"))
    yield from (f"blocks.{number + 1}.0.{one}" for one in ("conv", "bn1"))
    yield from ("conv_head", "norm_head", "classifier")


_STEM_SMALL = tuple(
    f"{stage}.{at}.{one}" for stage in (0, 1) for at in (0, 1) for one in ("conv", "bn1")
)
_STEM_MEDIUM = ("0.0.conv_exp", "0.0.bn1", "0.0.conv_pwl", "0.0.bn2")
_made = partial(Backbone, paper="Qin et al. 2024", side=224)

MOBILENET_V4_SMALL = _made(
    name="mobilenet_v4_small",
    title="MobileNetV4-Conv-Small, trained by timm's author for 2,400 epochs",
    layers=small,
    top1=73.756,
    top1_source="timm's results-imagenet.csv, mobilenetv4_conv_small.e2400_r224_in1k at 224 px",
    parameters=3_774_024,
    multiply_adds=186_005_568,
    hub=HubFile(
        repository="timm/mobilenetv4_conv_small.e2400_r224_in1k",
        revision="62da402ab468e9f1581764050d6be51fda8a35f0",
        file="model.safetensors",
        megabytes=15,
    ),
    namings=(Naming(publisher="timm", layers=tuple(_names(_STEM_SMALL, SMALL, 2))),),
)
MOBILENET_V4_MEDIUM = _made(
    name="mobilenet_v4_medium",
    title="MobileNetV4-Conv-Medium, trained by timm's author for 500 epochs",
    layers=medium,
    top1=79.092,
    top1_source="timm's results-imagenet.csv, mobilenetv4_conv_medium.e500_r224_in1k at 224 px",
    parameters=9_715_512,
    multiply_adds=827_649_984,
    hub=HubFile(
        repository="timm/mobilenetv4_conv_medium.e500_r224_in1k",
        revision="e9c0138574f05d63fc035fe01067883b509d0652",
        file="model.safetensors",
        megabytes=39,
    ),
    namings=(Naming(publisher="timm", layers=tuple(_names(_STEM_MEDIUM, MEDIUM, 1))),),
)
