"""The model that answers: a run's network, or an exported file. Axes: N images, K classes.

Prediction, evaluation, the page, the service, explanation and export ask a ``Model``.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from firstlight.errors import UserError
from firstlight.evaluate.task import AnyCalibration, Task
from firstlight.layers.own_code import OwnCode
from firstlight.pixels import Preprocess
from firstlight.runs.folder import RunFolder, open_run_folder
from firstlight.runtime import is_onnx, open_onnx
from firstlight.threads import usable_threads

if TYPE_CHECKING:
    from firstlight.evaluate.predict import Images
    from firstlight.runs.checkpoint import SavedModel


class Model(Protocol):
    """Images in, calibrated probabilities out. ``RunModel`` and ``OnnxModel`` are its two kinds."""

    @property
    def preprocess(self) -> Preprocess:
        """What turns images into the network's input."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        ...

    @property
    def calibration(self) -> AnyCalibration | None:
        """From held-out images, where the run had any."""
        ...

    @property
    def task(self) -> Task:
        """What it answers of an image: its one class, or its labels."""
        ...

    @property
    def threshold(self) -> float:
        """Below this probability of the best class, an answer is unknown."""
        ...

    @property
    def file(self) -> Path:
        """What holds its weights, its classes and its calibration."""
        ...

    @property
    def saved(self) -> "SavedModel | None":
        """The network with its layers, to look inside; None of an exported file."""
        ...

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Float32 N×K of N ≥ 1 uint8 images of the model's shape."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class RunModel:
    """A run's network on a device."""

    folder: RunFolder
    """The run."""
    saved: "SavedModel"
    device: str
    threads: int | None
    """How many compute; None leaves PyTorch's settings as they are."""

    @property
    def preprocess(self) -> Preprocess:
        """What turns images into the network's input."""
        return self.saved.preprocess

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        return self.saved.class_names

    @property
    def calibration(self) -> AnyCalibration | None:
        """From held-out images, where the run had any."""
        return self.saved.calibration

    @property
    def task(self) -> Task:
        """What it answers of an image."""
        return self.saved.task

    @property
    def threshold(self) -> float:
        """Below this probability of the best class, an answer is unknown."""
        return self.saved.threshold

    @property
    def file(self) -> Path:
        """The run's ``model.safetensors``."""
        from firstlight.runs.checkpoint import MODEL_FILE

        return self.folder.path / MODEL_FILE

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Float32 N×K of N ≥ 1 uint8 images of the model's shape.

        Raises ``DataError`` where weights are so large that an answer is no number.
        """
        if self.threads is None:
            return self._probabilities(images_NHWC)
        from firstlight.devices import repeatable

        with repeatable(self.threads, self.device):
            return self._probabilities(images_NHWC)

    def _probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        from firstlight.evaluate.predict import probabilities, takes_long
        from firstlight.training.memory import kept_memory

        saved = self.saved
        long = takes_long(saved.model, saved.preprocess, len(images_NHWC))
        with kept_memory() if long else nullcontext():
            return probabilities(
                saved.model,
                saved.preprocess,
                images_NHWC,
                self.device,
                saved.temperature,
                saved.task,
            )


def run_model(folder: RunFolder, device: str = "cpu", threads: int | None = None) -> RunModel:
    """A finished run's network, which computes with so many threads, or all. Raises ``UserError``
    for one that is not finished."""
    from firstlight.devices import choose_device
    from firstlight.runs.checkpoint import load_model

    folder.require_finished()
    where = choose_device(device)
    saved = load_model(folder, where)
    return RunModel(folder=folder, saved=saved, device=where, threads=threads or usable_threads())


def open_model(
    path: Path, device: str = "auto", code: OwnCode | None = None, threads: int | None = None
) -> Model:
    """A run folder's network, or an exported ``.onnx``, which computes on the CPU; ``code`` is that
    of a run's network, where it is code. It computes with so many threads, or all.

    Raises ``UserError`` or ``DataError`` where there is neither.
    """
    if not is_onnx(path):
        return run_model(open_run_folder(path, code), device, threads)
    refuse_code(path, code)
    check_device(path, device)
    return open_onnx(path, threads)


def refuse_code(path: Path, code: OwnCode | None) -> None:
    """Raise ``UserError`` where code is named for an exported file, which holds its network."""
    if code is not None:
        raise UserError(f"{path}: an exported file contains its network; leave out --network")


def check_device(path: Path, device: str) -> None:
    """Raise ``UserError`` unless an exported file computes on this device."""
    if device not in ("auto", "cpu"):
        raise UserError(f"{path}: an exported file runs on the CPU, not with --device {device}")
