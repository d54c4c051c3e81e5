"""A machine without weights, and small replacements for published files."""

from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from firstlight import backbones
from firstlight import layers as la
from firstlight.backbones import Backbone
from firstlight.backbones.backbone import HubFile, Naming

TINY = replace(
    backbones.BACKBONES["efficientnet_lite0"],
    name="tiny",
    layers=lambda: (la.Conv(4, bias=False), la.GlobalAveragePool(), la.Dense("classes")),
    side=8,
    classes=5,
    package=None,
    hub=HubFile(repository="timm/tiny.in1k", revision="a" * 40, file="w.safetensors", megabytes=1),
    namings=(Naming(publisher="timm", layers=("stem", "fc")),),
)
"""A backbone of three layers."""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove all caches and packages, and put ``tiny`` in the table; returns the hub's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)

    own = metadata.distribution

    def without(name: str) -> Any:
        if name.startswith("efficientnet"):
            raise metadata.PackageNotFoundError(name)
        return own(name)

    monkeypatch.setattr(metadata, "distribution", without)
    monkeypatch.setitem(backbones.BACKBONES, "tiny", TINY)
    return tmp_path / "cache" / "huggingface" / "hub"


def tensors(seed: int = 0) -> dict[str, Tensor]:
    """Return published weights of ``tiny``."""
    rng = Generator().manual_seed(seed)
    return {
        "stem.weight": torch.randn(4, 3, 3, 3, generator=rng),
        "fc.weight": torch.randn(5, 4, generator=rng),
        "fc.bias": torch.randn(5, generator=rng),
    }


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes tensors as a safetensors file."""

    def write(some: dict[str, Tensor] | None = None, to: Path | None = None) -> Path:
        path = to or tmp_path / "given.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors() if some is None else some, path)
        return path

    return write


def pinned(hub: Path, backbone: Backbone = TINY, revision: str = "") -> Path:
    """Return the path of the file in the cache of the hub's library."""
    folder = hub / f"models--{backbone.hub.repository.replace('/', '--')}" / "snapshots"
    return folder / (revision or backbone.hub.revision) / backbone.hub.file
