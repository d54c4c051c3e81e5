"""Weights and training state as safetensors files. No pickle is written or read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from firstlight.errors import DataError, UserError
from firstlight.evaluate.calibrate import Calibration
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.recipe import ModelChoice
from firstlight.runs.folder import RunFolder

MODEL_FILE = "model.safetensors"
STATE_FILE = "checkpoint/state.safetensors"
START_FILE = "checkpoint/start.safetensors"
"""The weights that a run started from, until it is finished."""
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained network with everything needed to use it."""

    model: nn.Module
    """In evaluation mode, on the device asked for."""
    architecture: Architecture
    preprocess: Preprocess
    class_names: tuple[str, ...]
    calibration: Calibration | None
    """From held-out images, where the run had any."""

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @property
    def threshold(self) -> float:
        """Below this probability of the best class, an answer is unknown."""
        return 0.0 if self.calibration is None else self.calibration.threshold


def save_model(
    folder: RunFolder,
    model: nn.Module,
    architecture: Architecture,
    preprocess: Preprocess,
    class_names: tuple[str, ...],
    calibration: Calibration | None = None,
    file: str = MODEL_FILE,
    half: bool = False,
    card: str = "",
) -> None:
    """Write ``model.safetensors``: weights, and how to build and feed the network.

    With ``half``, filters and dense layers are stored as float16, and come back as the float32
    numbers nearest by; ``card`` is a text for people.
    """
    values: dict[str, Any] = {
        "architecture": architecture.to_json(),
        "preprocess": preprocess.to_json(),
        "class_names": class_names,
        "calibration": None if calibration is None else asdict(calibration),
        **({"card": card} if card else {}),
    }
    tensors = {
        name: tensor.half() if half and tensor.ndim > 1 else tensor
        for name, tensor in model.state_dict().items()
    }
    _write(folder, file, tensors, values)


def load_model(folder: RunFolder, device: str = "cpu", file: str = MODEL_FILE) -> SavedModel:
    """Read ``model.safetensors``. Raises ``DataError`` when it is missing or damaged."""
    tensors, values = _read(folder, file)
    path = folder.path / file
    try:
        saved = values["architecture"]
        choice: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in saved.pop("choice").items()
        }
        architecture = Architecture(
            choice=ModelChoice(**choice),
            image_shape=tuple(saved["image_shape"]),
            classes=saved["classes"],
        )
        model = architecture.build(Generator())
        model.load_state_dict(tensors)
        preprocess = Preprocess.from_json(values["preprocess"])
        class_names = tuple(values["class_names"])
        if preprocess.image_shape != architecture.image_shape:
            raise ValueError(f"images {preprocess.image_shape} for {architecture.image_shape}")
        if not all(isinstance(n, str) for n in class_names):
            raise ValueError("class names that are no text")
        if len(class_names) != architecture.classes:
            raise ValueError(f"{len(class_names)} class names for {architecture.classes} classes")
        return SavedModel(
            model=model.to(device).eval(),
            architecture=architecture,
            preprocess=preprocess,
            class_names=class_names,
            calibration=_calibration(values.get("calibration")),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, UserError) as error:
        raise DataError(
            f"{path}: not the weights of a firstlight model, or of another version; train it "
            f"again: {error}"
        ) from error


def _calibration(values: dict[str, Any] | None) -> Calibration | None:
    return None if values is None else Calibration(**values)


def keep_start(folder: RunFolder, start: SavedModel) -> None:
    """Keep the network that a run starts from, so that resuming needs nothing else."""
    save_model(
        folder,
        start.model,
        start.architecture,
        start.preprocess,
        start.class_names,
        file=START_FILE,
    )


def load_start(folder: RunFolder) -> SavedModel | None:
    """What ``keep_start`` wrote, or None where a run started from fresh weights."""
    return load_model(folder, file=START_FILE) if (folder.path / START_FILE).exists() else None


def save_state(folder: RunFolder, tensors: dict[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write the state that a resumed run starts from, in one file, replacing the last."""
    _write(folder, STATE_FILE, tensors, values)


def load_state(folder: RunFolder) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last saved state on the CPU, or None where the run was stopped before the first."""
    if not (folder.path / STATE_FILE).exists():
        return None
    return _read(folder, STATE_FILE)


def drop_state(folder: RunFolder) -> None:
    """Remove the training state of a finished run."""
    for name in (STATE_FILE, START_FILE):
        path: Path = folder.path / name
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _write(
    folder: RunFolder, name: str, tensors: dict[str, Tensor], values: Mapping[str, Any]
) -> None:
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    # One key: safetensors writes several in no fixed order, and the same run gives the same file.
    metadata = {"firstlight": json.dumps({"format": _FORMAT, **values}, ensure_ascii=False)}
    folder.write(name, save(plain, metadata))


def _read(folder: RunFolder, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    path = folder.path / name
    if not path.is_file():
        raise DataError(f"{folder.path} has no {name}; the run is damaged")
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["firstlight"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if not isinstance(values, dict):
            raise TypeError(f"metadata is {type(values).__name__}, not a table")
        found = values.pop("format", None)
    except (SafetensorError, OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: damaged or cut short: {error}") from error
    if found != _FORMAT:
        raise DataError(f"{path}: format {found!r}; this firstlight reads {_FORMAT!r}")
    return tensors, values
