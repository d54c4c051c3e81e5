"""A backbone's weights, converted once and cached in the form of a run.

A folder holds ``model.safetensors`` and ``source.json``, which is written last. The latter has the
source of the weights, the SHA-256 of the source file, and that of the cached file.
"""

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from firstlight.backbones import backbone_named
from firstlight.backbones.backbone import Backbone
from firstlight.backbones.convert import architecture, converted
from firstlight.backbones.places import (
    SOURCE_FILE,
    Kept,
    Published,
    folder_of,
    is_here,
    kept,
    on_this_machine,
)
from firstlight.backbones.sources import checksum, fetched, how_to_get, read
from firstlight.errors import DataError, UserError
from firstlight.runs.checkpoint import MODEL_FILE, SavedModel, load_model, save_model
from firstlight.runs.folder import RunFolder

__all__ = ["Kept", "fetch_backbone", "is_here", "kept", "open_backbone"]


def open_backbone(name: str, *, device: str = "cpu") -> SavedModel:
    """Open the pretrained network with its published last layer, like a trained run.

    The weights come from firstlight's cache; or else from the hub's cache or an installed package,
    and are then saved to firstlight's cache. No connection is made. Raises ``UserError`` for an
    unknown name, and ``DataError`` if the weights are missing from this machine or damaged.
    """
    backbone = backbone_named(name)
    if (saved := _kept_model(backbone, device)) is not None:
        return saved
    wrong: DataError | None = None
    for published in on_this_machine(backbone):
        try:
            tensors, sha256 = read(published)
            saved = converted(backbone, tensors, str(published.path))
        except DataError as error:
            wrong = wrong or error
            continue
        with suppress(DataError):  # prediction works without a cache
            _keep(backbone, saved, published, sha256)
        saved.model.to(device)
        return saved
    if wrong is not None:
        raise wrong
    raise DataError(
        f"the weights of {backbone.name} are not on this machine\n{how_to_get(backbone)}"
    )


def fetch_backbone(name: str, file: Path | None = None, *, quiet: bool = False) -> Kept:
    """Load the weights into the cache: from ``file`` (safetensors) if given; else from this
    machine; else from the hub.

    Raises ``UserError`` for an unknown name or file; ``DataError`` for another network's weights, a
    damaged or wrong file, or full storage; and ``UnreachableError`` if the download fails.
    """
    backbone = backbone_named(name)
    if file is not None:
        if not file.is_file():
            wrong = "not a file" if os.path.lexists(file) else "no such file"
            raise UserError(f"{file}: {wrong}. Name a .safetensors file")
        published = Published(path=file, origin=f"the file {file.name}", sha256="")
    else:
        if (here := kept(backbone)) is not None and _kept_model(backbone, "cpu") is not None:
            return here
        for published in on_this_machine(backbone):
            with suppress(DataError):  # the hub may have an undamaged one
                return _convert(backbone, published)
        published = fetched(backbone, quiet)
    return _convert(backbone, published)


def _convert(backbone: Backbone, published: Published) -> Kept:
    tensors, sha256 = read(published)
    return _keep(backbone, converted(backbone, tensors, str(published.path)), published, sha256)


def _is_whole(backbone: Backbone, here: Kept) -> bool:
    """Whether the cached file is unchanged since it was written."""
    path = here.folder / MODEL_FILE
    return path.is_file() and checksum(path) == here.model_sha256


def _kept_model(backbone: Backbone, device: str) -> SavedModel | None:
    """Return the cached network; None if there is none, if it has changed since it was written, or
    if another version of firstlight built it from other layers."""
    here = kept(backbone)
    if here is None or not _is_whole(backbone, here):
        return None
    try:
        saved = load_model(RunFolder(here.folder), device)
    except DataError:
        return None
    same = saved.architecture == architecture(backbone) and saved.preprocess == backbone.preprocess
    return saved if same else None


def _keep(backbone: Backbone, saved: SavedModel, published: Published, sha256: str) -> Kept:
    """Write the two files, ``source.json`` last. Raises ``DataError``.

    Two processes at once each write whole files. If the files of both get mixed, the next reader
    sees that the checksums differ, and converts again.
    """
    folder = RunFolder(folder_of(backbone))
    known = {backbone.hub.sha256, backbone.package.sha256 if backbone.package else ""} - {""}
    try:
        save_model(folder, saved)
        here = Kept(
            folder=folder.path,
            origin=published.origin,
            sha256=sha256,
            verified=sha256 in known,
            model_sha256=checksum(folder.path / MODEL_FILE),
        )
        values = asdict(here)
        del values["folder"]
        folder.write_json(SOURCE_FILE, values)
    except DataError as error:
        raise DataError(
            f"{error}. Free some disk space, or set XDG_CACHE_HOME to another folder"
        ) from error
    return here
