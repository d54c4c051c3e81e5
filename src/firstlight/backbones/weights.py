"""A backbone's weights, converted once and kept in the cache in the form of a run's.

A folder holds ``model.safetensors`` and, written after it, ``source.json``: where the weights came
from, the SHA-256 of that file, and that of the one that is kept.
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
    """The pretrained network with its published last layer, as a trained run is opened.

    Taken from firstlight's cache, else from the hub's cache or an installed package, and then kept
    in firstlight's. No connection is made. Raises ``UserError`` for an unknown name, and
    ``DataError`` where there are no weights on this machine, or they are damaged.
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
        with suppress(DataError):  # where the cache takes none it answers all the same
            _keep(backbone, saved, published, sha256)
        saved.model.to(device)
        return saved
    if wrong is not None:
        raise wrong
    raise DataError(
        f"the weights of {backbone.name} are not on this machine\n{how_to_get(backbone)}"
    )


def fetch_backbone(name: str, file: Path | None = None, *, quiet: bool = False) -> Kept:
    """Get the weights into the cache: from ``file``, a safetensors file; else from what is on this
    machine; else from the hub.

    Raises ``UserError`` for an unknown name or file, ``DataError`` for weights of another network,
    a damaged or other file, and storage that takes no more, and ``UnreachableError`` where the hub
    does not give them.
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
            with suppress(DataError):  # the hub may have a whole one
                return _convert(backbone, published)
        published = fetched(backbone, quiet)
    return _convert(backbone, published)


def _convert(backbone: Backbone, published: Published) -> Kept:
    tensors, sha256 = read(published)
    return _keep(backbone, converted(backbone, tensors, str(published.path)), published, sha256)


def _is_whole(backbone: Backbone, here: Kept) -> bool:
    """Whether the kept file is as it was written."""
    path = here.folder / MODEL_FILE
    return path.is_file() and checksum(path) == here.model_sha256


def _kept_model(backbone: Backbone, device: str) -> SavedModel | None:
    """The kept network; None where there is none, where it is no longer as it was written, and
    where another firstlight made it of other layers."""
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
    """Write the two files, the one that tells of the other last. Raises ``DataError``.

    Two processes at once each write whole files; where they mix, the next to open them sees that
    the sums differ, and converts again.
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
