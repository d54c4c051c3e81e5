"""Pretrained networks as lists of firstlight's layers. ``BACKBONES`` is the one table of them."""

from firstlight.backbones.backbone import Backbone
from firstlight.backbones.dino_v2 import DINO_V2_SMALL
from firstlight.backbones.efficientnet import EFFICIENTNET_LITE0
from firstlight.backbones.mobilenet_v4 import MOBILENET_V4_MEDIUM, MOBILENET_V4_SMALL
from firstlight.checked import nearest
from firstlight.errors import UserError

__all__ = ["BACKBONES", "Backbone", "backbone_named"]

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (EFFICIENTNET_LITE0, MOBILENET_V4_SMALL, MOBILENET_V4_MEDIUM, DINO_V2_SMALL)
}


def backbone_named(name: str) -> Backbone:
    """The backbone. Raises ``UserError`` for a name that is in no table."""
    if name not in BACKBONES:
        raise UserError(f"no backbone is called {name!r}; {nearest(name, tuple(BACKBONES))}")
    return BACKBONES[name]
