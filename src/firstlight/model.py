"""The interface of models: a run's network, or an exported file. Axes: N images, K classes.

Prediction, evaluation, the page, the service, explanation and export all use a ``Model``.
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
    """Images in, calibrated probabilities out. ``RunModel`` and ``OnnxModel`` implement it."""

    @property
    def preprocess(self) -> Preprocess:
        """The conversion of images to the network's input."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K class names."""
        ...

    @property
    def calibration(self) -> AnyCalibration | None:
        """From held-out images, if the run had any."""
        ...

    @property
    def task(self) -> Task:
        """The kind of answer for an image: one class, or several labels."""
        ...

    @property
    def threshold(self) -> float:
        """If the best class's probability is below this, the answer is unknown."""
        ...

    @property
    def file(self) -> Path:
        """The file with its weights, classes and calibration."""
        ...

    @property
    def saved(self) -> "SavedModel | None":
        """The network with its layers, for inspection; None for an exported file."""
        ...

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Return float32 N×K for N ≥ 1 uint8 images of the model's shape."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class RunModel:
    """A run's network on a device."""

    folder: RunFolder
    """The run's folder."""
    saved: "SavedModel"
    device: str
    threads: int | None
    """Number of threads; None keeps PyTorch's setting."""

    @property
    def preprocess(self) -> Preprocess:
        """The conversion of images to the network's input."""
        return self.saved.preprocess

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K class names."""
        return self.saved.class_names

    @property
    def calibration(self) -> AnyCalibration | None:
        """From held-out images, if the run had any."""
        return self.saved.calibration

    @property
    def task(self) -> Task:
        """The kind of answer for an image."""
        return self.saved.task

    @property
    def threshold(self) -> float:
        """If the best class's probability is below this, the answer is unknown."""
        return self.saved.threshold

    @property
    def file(self) -> Path:
        """The run's ``model.safetensors``."""
        from firstlight.runs.checkpoint import MODEL_FILE

        return self.folder.path / MODEL_FILE

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Return float32 N×K for N ≥ 1 uint8 images of the model's shape.

        Raises ``DataError`` if weights are so large that an answer is NaN.
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
    """Return a finished run's network, computing with ``threads`` threads, by default all. Raises
    ``UserError`` for an unfinished run."""
    from firstlight.devices import choose_device
    from firstlight.runs.checkpoint import load_model

    folder.require_finished()
    where = choose_device(device)
    saved = load_model(folder, where)
    return RunModel(folder=folder, saved=saved, device=where, threads=threads or usable_threads())


def open_model(
    path: Path, device: str = "auto", code: OwnCode | None = None, threads: int | None = None
) -> Model:
    """Open a run folder, or an exported ``.onnx``, which computes on the CPU.

    ``code`` is the user's own code of a run's network, if it has any. ``threads`` is the number of
    threads, by default all. Raises ``UserError`` or ``DataError`` if the path is neither.
    """
    if not is_onnx(path):
        return run_model(open_run_folder(path, code), device, threads)
    refuse_code(path, code)
    check_device(path, device)
    return open_onnx(path, threads)


def refuse_code(path: Path, code: OwnCode | None) -> None:
    """Raise ``UserError`` if code is named for an exported file, which contains its network."""
    if code is not None:
        raise UserError(f"{path}: an exported file contains its network; leave out --network")


def check_device(path: Path, device: str) -> None:
    """Raise ``UserError`` unless an exported file can compute on this device."""
    if device not in ("auto", "cpu"):
        raise UserError(f"{path}: an exported file runs on the CPU, not with --device {device}")
