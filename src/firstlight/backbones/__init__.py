"""Pretrained networks as lists of firstlight's layers. ``BACKBONES`` is the one table of them."""

from firstlight.backbones.backbone import Backbone
from firstlight.backbones.dino_v2 import DINO_V2_SMALL
from firstlight.backbones.efficientnet import EFFICIENTNET_LITE0
from firstlight.backbones.mobilenet_v4 import MOBILENET_V4_MEDIUM, MOBILENET_V4_SMALL
from firstlight.checked import nearest
from firstlight.errors import UserError
from firstlight.plain import shown

__all__ = ["BACKBONES", "Backbone", "backbone_named"]

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (EFFICIENTNET_LITE0, MOBILENET_V4_SMALL, MOBILENET_V4_MEDIUM, DINO_V2_SMALL)
}


def backbone_named(name: str) -> Backbone:
    """The backbone of a name, or of ``timm:NAME`` or ``hf:OWNER/NAME`` that its weights are
    published under. Raises ``UserError`` for a name that is in no table."""
    for backbone in BACKBONES.values():
        repository = backbone.hub.repository
        owner, _, there = repository.partition("/")
        timms = {f"timm:{there}", f"timm:{there.partition('.')[0]}"} if owner == "timm" else set()
        if name in {backbone.name, f"hf:{repository}"} | timms:
            return backbone
    raise UserError(f"no backbone is called {shown(name)}; {nearest(name, tuple(BACKBONES))}")
