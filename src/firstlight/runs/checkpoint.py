"""Weights and training state as safetensors files. Pickle is never written or read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from firstlight import legacy
from firstlight.checked import class_names
from firstlight.errors import DataError, UserError
from firstlight.evaluate.calibrate import Calibration
from firstlight.evaluate.label_metrics import SEVERAL
from firstlight.evaluate.task import ONE_LABEL, AnyCalibration, Task, task_in
from firstlight.layers.own_code import OwnCodeError, matched
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.plain import read_json, read_toml, shown, write_json
from firstlight.recipe import network_of
from firstlight.runs.folder import RunFolder

MODEL_FILE = "model.safetensors"
STATE_FILE = "checkpoint/state.safetensors"
START_FILE = "checkpoint/start.safetensors"
"""The weights that a run started from; kept until it is finished."""
_FORMAT = 2
_READ = (1, 2)
_DTYPES = ("F16", "BF16", "F32", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL")
"""Dtypes of tensors. Integers count the batches that a batch norm has seen, or belong to own
code."""


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained network with everything needed to use it."""

    model: nn.Module
    """In evaluation mode, on the requested device."""
    architecture: Architecture
    preprocess: Preprocess
    class_names: tuple[str, ...]
    calibration: AnyCalibration | None = None
    """From held-out images, if the run had any."""
    task: Task = ONE_LABEL
    """The kind of answer for an image."""

    @property
    def temperature(self) -> float:
        """The number that logits are divided by."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @property
    def threshold(self) -> float:
        """If the best class's probability is below this, the answer is unknown."""
        return self.calibration.threshold if isinstance(self.calibration, Calibration) else 0.0


def save_model(
    folder: RunFolder,
    saved: SavedModel,
    *,
    file: str = MODEL_FILE,
    half: bool = False,
    card: str = "",
) -> None:
    """Write ``model.safetensors``: the weights, and how to build the network and prepare its input.

    With ``half``, filters and dense layers are stored as float16 and loaded as float32. ``card`` is
    a message.
    """
    values: dict[str, Any] = {
        "architecture": saved.architecture.to_json(),
        "preprocess": saved.preprocess.to_json(),
        "class_names": saved.class_names,
        "calibration": None if saved.calibration is None else asdict(saved.calibration),
        **({"labels": SEVERAL} if saved.task.several else {}),
        **({"card": card} if card else {}),
    }
    tensors = {
        name: tensor.half() if half and tensor.ndim > 1 else tensor
        for name, tensor in saved.model.state_dict().items()
    }
    _write(folder, file, tensors, values)


def load_model(folder: RunFolder, device: str = "cpu", file: str = MODEL_FILE) -> SavedModel:
    """Read ``model.safetensors``. Raises ``DataError`` if it is missing or damaged."""
    path = folder.path / file
    with _opened(folder, file) as (stored, values, _):
        try:
            architecture, preprocess = _architecture(values)
            architecture = _with_code(architecture, folder)
            names = class_names(values["class_names"], "its metadata")
            if len(names) != architecture.classes:
                raise ValueError(f"{len(names)} class names for {architecture.classes} classes")
            task = task_in(values)
            calibration = task.calibration_of(values.get("calibration"))
            # Check the shapes first; build the network only if the file matches it.
            was = _former_names(values["architecture"].get("choice"))
            names_of = {_named_now(key, was): key for key in stored.keys()}  # noqa: SIM118
            _check_shapes(stored, names_of, architecture.shapes())
            model = architecture.build(Generator())
            model.load_state_dict({now: stored.get_tensor(key) for now, key in names_of.items()})
            _check_numbers(model)
            return SavedModel(
                model=model.to(device).eval(),
                architecture=architecture,
                preprocess=preprocess,
                class_names=names,
                calibration=calibration,
                task=task,
            )
        except OwnCodeError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, UserError) as error:
            raise DataError(
                f"{path}: not the weights of a firstlight model, or from another version. Train "
                f"it again: {error}"
            ) from error


def load_architecture(path: Path) -> Architecture:
    """Return the network that a weights file belongs to.

    Raises ``UserError`` if there is no such file, and ``DataError`` if it is damaged or has no
    description of the network.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with _opened(RunFolder(path.parent), path.name) as (_, values, _):
        if "architecture" not in values:
            raise DataError(
                f"{path}: only weights, without a description of the network. Give the run they "
                "were exported from, or its model.safetensors"
            )
        try:
            return _architecture(values)[0]
        except (LookupError, TypeError, ValueError, AttributeError, UserError) as error:
            raise DataError(f"{path}: has no valid description of the network: {error}") from error


def load_input(folder: RunFolder) -> tuple[Preprocess, AnyCalibration | None]:
    """Return how a finished run prepares an image, and its calibration, without its weights.

    Raises ``DataError`` if ``model.safetensors`` is missing or damaged.
    """
    with _opened(folder, MODEL_FILE) as (_, values, _):
        try:
            calibration = task_in(values).calibration_of(values.get("calibration"))
            return _architecture(values)[1], calibration
        except (LookupError, TypeError, ValueError, AttributeError, UserError) as error:
            raise DataError(f"{folder.path / MODEL_FILE}: damaged: {error}") from error


def _former_names(choice: Mapping[str, Any] | None) -> dict[str, str]:
    """Map the layer names of format 1 to the current ones; empty for format 2."""
    return {} if choice is None else legacy.layer_names(choice)


def _named_now(key: str, former: Mapping[str, str]) -> str:
    """Return a tensor's name with the current name of its layer."""
    layer, dot, name = key.rpartition(".")
    return f"{former.get(layer, layer)}{dot}{name}"


def _architecture(values: Mapping[str, Any]) -> tuple[Architecture, Preprocess]:
    """Read the network and its preprocessing from the metadata. Raises ``ValueError``."""
    saved, preprocess = values["architecture"], Preprocess.from_json(values["preprocess"])
    former = saved.get("choice")
    network = network_of(saved["network"]) if former is None else legacy.network_of(former)
    shape, classes = tuple(saved["image_shape"]), saved["classes"]
    if preprocess.image_shape != shape:
        raise ValueError(f"images {preprocess.image_shape} for {shape}")
    if not isinstance(classes, int) or isinstance(classes, bool):
        raise ValueError(f"{shown(classes)} classes")
    return Architecture(network=network, image_shape=shape, classes=classes), preprocess


def _with_code(architecture: Architecture, folder: RunFolder) -> Architecture:
    """Add the function that was named for the run, if the network is the user's own code.

    Raises ``OwnCodeError`` if none was named, or a different one.
    """
    record = architecture.network.code
    if record is None:
        return architecture
    code = matched(record, folder.code, folder.path)
    return replace(architecture, network=replace(architecture.network, code=code))


def _check_shapes(
    stored: Any, names_of: Mapping[str, str], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise ``ValueError`` unless the file's header has tensors with these names and shapes.

    ``names_of`` maps current tensor names to those in the file.
    """
    for name in sorted(names_of.keys() ^ wanted.keys()):
        what = "is missing" if name in wanted else "does not belong to the network"
        raise ValueError(f"the tensor {shown(name)} {what}")
    for name, shape in wanted.items():
        tensor = stored.get_slice(names_of[name])
        came = tuple(tensor.get_shape())
        if came != shape or tensor.get_dtype() not in _DTYPES:
            raise ValueError(
                f"the tensor {name} is {tensor.get_dtype()} of shape {came}, wanted {shape}"
            )


def _check_numbers(model: nn.Module) -> None:
    """Raise ``ValueError`` for a tensor that would make every answer NaN."""
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"the tensor {name} holds numbers that are not finite")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise ValueError(f"the tensor {name} holds negative variances")


def keep_start(folder: RunFolder, start: SavedModel) -> None:
    """Save the network that a run starts from, so that resuming needs nothing else."""
    save_model(folder, start, file=START_FILE)


def load_start(folder: RunFolder) -> SavedModel | None:
    """Return what ``keep_start`` saved; None if the run started from random weights."""
    return load_model(folder, file=START_FILE) if (folder.path / START_FILE).exists() else None


def save_state(folder: RunFolder, tensors: dict[str, Tensor], values: Mapping[str, Any]) -> None:
    """Save the state for resuming in one file, which replaces the last one."""
    _write(folder, STATE_FILE, tensors, values)


def load_state(folder: RunFolder) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the last saved state, on the CPU; None if the run stopped before the first was
    saved."""
    if not (folder.path / STATE_FILE).exists():
        return None
    with _opened(folder, STATE_FILE) as (stored, values, written):
        former: dict[str, str] = {}
        if written == 1 and isinstance(recipe := _recipe_table(folder), Mapping):
            former = _former_names(recipe.get("model", {}))
        tensors = {}
        for key in stored.keys():  # noqa: SIM118
            part, dot, name = key.partition(".")
            tensors[f"{part}{dot}{_named_now(name, former)}"] = stored.get_tensor(key)
        return tensors, values


def _recipe_table(folder: RunFolder) -> Any:
    return read_toml((folder.path / "recipe.toml").read_text(encoding="utf-8"))


def drop_state(folder: RunFolder, *, start: bool = True) -> None:
    """Remove the training state of a finished run and, with ``start``, its starting weights."""
    for name in (STATE_FILE, START_FILE)[: 1 + start]:
        path: Path = folder.path / name
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _write(
    folder: RunFolder, name: str, tensors: dict[str, Tensor], values: Mapping[str, Any]
) -> None:
    plain = apart(tensors)
    # Use a single key: safetensors writes several in random order, and equal runs must give equal
    # files.
    metadata = {"firstlight": write_json({"format": _FORMAT, **values})}
    folder.write(name, save(plain, metadata))


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, each in its own memory. safetensors refuses shared memory, and
    a layer may share another's weights."""
    plain, seen = dict[str, Tensor](), set[int]()
    for key, tensor in tensors.items():
        one = tensor.detach().cpu().contiguous()
        if one.numel() and (start := one.untyped_storage().data_ptr()) in seen:
            one = one.clone()
        else:
            seen |= {start} if one.numel() else set()
        plain[key] = one
    return plain


@contextmanager
def _opened(folder: RunFolder, name: str) -> Iterator[tuple[Any, dict[str, Any], Any]]:
    """Open a file and yield it with its values and its format. Only the header is read.

    Raises ``DataError`` if the file is missing or damaged, also while tensors are read from it.
    """
    path = folder.path / name
    if not path.is_file():
        raise DataError(f"{folder.path} has no {name}: the run is damaged")
    try:
        with safe_open(path, framework="pt") as file:
            values = read_json((file.metadata() or {})["firstlight"])
            if not isinstance(values, dict):
                raise TypeError(f"metadata is {type(values).__name__}, not a table")
            found = values.pop("format", None)
            if found not in _READ:
                raise DataError(
                    f"{path}: format {shown(found)}; this firstlight reads "
                    f"{' and '.join(map(str, _READ))}. A newer version may read it"
                )
            yield file, values, found
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: damaged or truncated: {error}") from error
