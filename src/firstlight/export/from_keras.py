"""Read a tutorial network from a ``.keras`` file: its JSON and its numbers; nothing is executed.

A ``.keras`` file is a ZIP of ``config.json`` (the layers), ``model.weights.h5`` (HDF5) and
``metadata.json``. Every layer must be one that is known here by name; whatever holds code of its
own, such as a Lambda layer, is refused, and so is HDF5 that leads to other files.
Axes: H height, W width, I inputs, O outputs, F features, K classes.
"""

import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.errors import DataError, UserError
from firstlight.export.keras_layers import Chain, chain_of
from firstlight.recipe import ModelChoice

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MOST_BYTES = {CONFIG: 8 * 1024**2, METADATA: 1024**2, WEIGHTS: 512 * 1024**2}


@dataclass(frozen=True, kw_only=True, eq=False)
class KerasNetwork:
    """What a ``.keras`` file holds, as a tutorial network."""

    version: str
    """Of the Keras that wrote it."""
    choice: ModelChoice
    image_shape: tuple[int, int, int]
    """Height, width and channels."""
    classes: int
    mean: float
    std: float
    """Its inputs are pixels / 255, less ``mean``, over ``std``."""
    rescales: bool
    """Whether the file says so; otherwise the tutorial's division by 255 is taken for granted."""
    tensors: dict[str, Tensor]
    """The weights by the names that ``TutorialCNN`` has for them, float32."""


def read_keras(path: Path) -> KerasNetwork:
    """The network of a ``.keras`` file.

    Raises ``DataError`` for a file that is missing or damaged, and ``UserError`` for a network that
    is not of the tutorial's kind.
    """
    parts = _members(path)
    try:
        config = json.loads(parts[CONFIG])
        version = str(json.loads(parts[METADATA])["keras_version"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: damaged, its JSON cannot be read: {error!r}") from error
    chain = chain_of(config, str(path))
    return KerasNetwork(
        version=version[:40],
        choice=chain.choice,
        image_shape=chain.image_shape,
        classes=chain.classes,
        mean=chain.mean,
        std=chain.std,
        rescales=chain.rescales,
        tensors=_tensors(parts[WEIGHTS], chain, path),
    )


def _members(path: Path) -> dict[str, bytes]:
    """The three files in the ZIP, none larger than it may be."""
    try:
        with path.open("rb") as stream:
            if stream.read(8) == b"\x89HDF\r\n\x1a\n":
                raise UserError(
                    f"{path}: the older HDF5 format; save it again in Keras, with "
                    'model.save("model.keras")'
                )
        with zipfile.ZipFile(path) as archive:
            return {name: _member(archive, name) for name in MOST_BYTES}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, LookupError, ValueError, NotImplementedError, EOFError) as error:
        raise DataError(
            f"{path}: not a whole .keras file ({error}); make one in Keras with "
            'model.save("model.keras")'
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file; its size is counted as it is unpacked, as its head may lie."""
    with archive.open(name) as stream:
        content = stream.read(MOST_BYTES[name] + 1)
    if len(content) > MOST_BYTES[name]:
        raise ValueError(f"{name} is larger than {MOST_BYTES[name] // 1024**2} MiB")
    return content


def _tensors(content: bytes, chain: Chain, path: Path) -> dict[str, Tensor]:
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "reading Keras's weights needs h5py: pip install 'firstlight[keras]'"
        ) from error
    tensors: dict[str, Tensor] = {}
    counted: Counter[str] = Counter()
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            for kind, ours, shape in chain.weights:
                number = counted[kind]
                counted[kind] += 1
                group = f"layers/{kind}{f'_{number}' if number else ''}/vars"
                kernel = _numbers(file, f"{group}/0", shape)
                bias = _numbers(file, f"{group}/1", shape[-1:])
                # Keras has H×W×I×O and I×O where PyTorch has O×I×H×W and O×I.
                turned = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
                tensors[f"{ours}.weight"] = torch.from_numpy(np.ascontiguousarray(turned))
                tensors[f"{ours}.bias"] = torch.from_numpy(bias)
    except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its weights cannot be read: {error}") from error
    return tensors


def _numbers(file: Any, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """One array, float32, finite. Raises ``ValueError`` for what is not simply in the file."""
    import h5py

    at = ""
    for word in name.split("/"):
        at = f"{at}/{word}"
        if not isinstance(file.get(at, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing, or lies elsewhere")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise ValueError(f"{name} is no array of its own")
    if found.shape != shape or found.dtype.kind != "f":
        raise ValueError(f"{name} is {found.dtype} of shape {found.shape}, not {shape}")
    values = np.asarray(found[()], dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return values
