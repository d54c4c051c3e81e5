"""Facts about the backbones: whether the weights are here, and images per second."""

import time
from dataclasses import asdict
from typing import Any

from firstlight.backbones import BACKBONES
from firstlight.backbones.backbone import Backbone
from firstlight.backbones.places import Kept, is_here, kept

_BATCH = 8
_SECONDS = 2.0


def listed() -> list[dict[str, Any]]:
    """Return the facts of every backbone, and whether its weights are on this machine."""
    return [facts(backbone) for backbone in BACKBONES.values()]


def facts(backbone: Backbone) -> dict[str, Any]:
    """Return all facts as plain values."""
    return {
        "name": backbone.name,
        "title": backbone.title,
        "paper": backbone.paper,
        "here": is_here(backbone.name),
        "side": backbone.side,
        "mean": backbone.mean,
        "std": backbone.std,
        "interpolation": backbone.interpolation,
        "classes": backbone.classes,
        "top1": backbone.top1,
        "top1_source": backbone.top1_source,
        "parameters": backbone.parameters,
        "multiply_adds": backbone.multiply_adds,
        "code_licence": backbone.code_licence,
        "weights_licence": backbone.weights_licence,
        "note": backbone.note,
        "hub": asdict(backbone.hub),
        "package": None if backbone.package is None else asdict(backbone.package),
    }


def kept_facts(backbone: Backbone) -> dict[str, Any] | None:
    """Return what firstlight's cache holds of a backbone, as plain values."""
    here = kept(backbone)
    return None if here is None else told(here)


def told(here: Kept) -> dict[str, Any]:
    """Return cached weights as plain values."""
    return {**asdict(here), "folder": str(here.folder)}


def images_a_second(backbone: Backbone) -> float:
    """Measure for some seconds with all of PyTorch's threads. The values of the weights do not
    matter."""
    import torch

    from firstlight.backbones.convert import architecture

    model = architecture(backbone).build(torch.Generator().manual_seed(0)).eval()
    images_NHWC = torch.zeros((_BATCH, *backbone.image_shape), dtype=torch.uint8)
    with torch.inference_mode():
        pixels_NCHW = backbone.preprocess(images_NHWC)
        model(pixels_NCHW)  # the first batch is slower
        start, batches = time.perf_counter(), 0
        while (seconds := time.perf_counter() - start) < _SECONDS:
            model(pixels_NCHW)
            batches += 1
    return _BATCH * batches / seconds
