"""Where weights are on this machine: in firstlight's cache, the hub's, or an installed package.

Nothing here needs PyTorch, and only ``source.json`` is opened.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from firstlight.backbones import backbone_named
from firstlight.backbones.backbone import Backbone
from firstlight.errors import DataError
from firstlight.files import cache_folder
from firstlight.hub.library import kept_in
from firstlight.runs.folder import RunFolder

SOURCE_FILE = "source.json"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file of published weights on this machine."""

    path: Path
    origin: str
    """Its source, in words."""
    sha256: str
    """Expected SHA-256; empty if unknown."""


def on_this_machine(backbone: Backbone) -> Iterator[Published]:
    """Yield the files on this machine: first those in the hub's cache, starting with the pinned
    revision, then those in an installed package. Nothing is imported or opened."""
    hub = backbone.hub
    folder = kept_in("model", hub.repository) / "snapshots"
    pinned = folder / hub.revision / hub.file
    others = sorted(path for path in folder.glob(f"*/{hub.file}") if path != pinned)
    for path in (pinned, *others):
        if path.is_file():
            origin = f"{hub.repository} on the Hugging Face hub, revision {path.parent.name}"
            yield Published(path=path, origin=origin, sha256=hub.sha256)
    package = backbone.package
    if package is not None:
        try:
            found = metadata.distribution(package.package)
        except metadata.PackageNotFoundError:
            return
        path = Path(str(found.locate_file(package.file)))
        if path.is_file():
            origin = f"the package {package.package} {found.version}"
            yield Published(path=path, origin=origin, sha256=package.sha256)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Weights in the cache."""

    folder: Path
    origin: str
    """Their source, in words."""
    sha256: str
    """SHA-256 of the file that they came in."""
    verified: bool
    """Whether that file is the published one."""
    model_sha256: str
    """SHA-256 of the file in the cache."""


def is_here(name: str) -> bool:
    """Whether ``open_backbone`` would find weights, judging by file names."""
    backbone = backbone_named(name)
    return kept(backbone) is not None or any(True for _ in on_this_machine(backbone))


def kept(backbone: Backbone) -> Kept | None:
    """Return what the cache's ``source.json`` says about its weights."""
    folder = RunFolder(folder_of(backbone))
    if not any(folder.path.glob("*.safetensors")):
        return None
    try:
        values = folder.read_json(SOURCE_FILE)
        return Kept(folder=folder.path, **values)
    except (DataError, TypeError):
        return None


def folder_of(backbone: Backbone) -> Path:
    return cache_folder() / "backbones" / backbone.name
