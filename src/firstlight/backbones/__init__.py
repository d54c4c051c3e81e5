"""Pretrained networks as lists of firstlight's layers. ``BACKBONES`` is the one table of them."""

import os
from pathlib import Path

from firstlight.backbones.backbone import Backbone
from firstlight.backbones.dino_v2 import DINO_V2_SMALL
from firstlight.backbones.efficientnet import EFFICIENTNET_LITE0
from firstlight.backbones.mobilenet_v4 import MOBILENET_V4_MEDIUM, MOBILENET_V4_SMALL
from firstlight.checked import nearest
from firstlight.errors import UserError
from firstlight.plain import shown

__all__ = ["BACKBONES", "Backbone", "backbone_named", "is_backbone", "refuse_backbone"]

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (EFFICIENTNET_LITE0, MOBILENET_V4_SMALL, MOBILENET_V4_MEDIUM, DINO_V2_SMALL)
}


def backbone_named(name: str) -> Backbone:
    """Return the backbone with this name, or published as ``timm:NAME`` or ``hf:OWNER/NAME``.
    Raises ``UserError`` for an unknown name."""
    for backbone in BACKBONES.values():
        repository = backbone.hub.repository
        owner, _, there = repository.partition("/")
        timms = {f"timm:{there}", f"timm:{there.partition('.')[0]}"} if owner == "timm" else set()
        if name in {backbone.name, f"hf:{repository}"} | timms:
            return backbone
    raise UserError(f"unknown backbone {shown(name)}; {nearest(name, tuple(BACKBONES))}")


def is_backbone(where: str | Path) -> bool:
    """Whether a name is a backbone's and no file or folder has that name. Other ``hf:`` addresses
    are runs."""
    name = str(where)
    published = {f"hf:{backbone.hub.repository}" for backbone in BACKBONES.values()}
    named = name in BACKBONES or name.startswith("timm:") or name in published
    return named and not os.path.lexists(where)


def refuse_backbone(where: str | Path) -> None:
    """Raise ``UserError`` if a backbone is named where a run is expected."""
    if is_backbone(where):
        backbone_named(str(where))
        raise UserError(
            f"{where} is a pretrained backbone, which does not know your classes; wanted a run. "
            f"Train one on your pictures in PATH: firstlight train PATH --from {where}"
        )
