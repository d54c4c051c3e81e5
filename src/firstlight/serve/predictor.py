"""A model that is ready to answer. Axes: N images, H height, W width, C channels, K classes."""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.decode import Bounds
from firstlight.data.pictures import Picture, PictureSource, prepare
from firstlight.errors import DataError
from firstlight.evaluate.prediction import Prediction
from firstlight.evaluate.task import AnyCalibration
from firstlight.model import Model, run_model
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import AnyAnswers, read_any_answers, read_epochs, read_layers

UInt8Array = npt.NDArray[np.uint8]


class Predictor(ABC):
    """A model behind the service, and the known facts about its training. It never writes
    anything."""

    platform: str
    """The platform, in the protocol's terms."""

    def __init__(self, name: str, path: Path, bounds: Bounds) -> None:
        """``bounds`` limit each picture."""
        self.name, self.path, self.bounds = name, path, bounds
        self._loaded = False

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the model can answer."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """The model that answers. Raises ``UserError`` if there is none yet."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The values of ``data.json``."""

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The recipe of its training."""

    @property
    def ready(self) -> bool:
        """Whether it has answered, or can."""
        return self._loaded or self.finished

    @property
    def in_training(self) -> bool:
        """Whether a process is training it now."""
        return False

    @property
    def epochs(self) -> list[dict[str, float | None]]:
        """The lines of ``epochs.csv``; empty if the training is unknown."""
        return []

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The lines of ``layers.csv``; empty if they are unknown."""
        return []

    @property
    def summary(self) -> dict[str, Any] | None:
        """The final figures of the training, if known."""
        return None

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The results of ``evaluate``, if any."""
        return None

    @property
    def evaluated(self) -> bool:
        """Whether it has been evaluated."""
        return False

    @property
    def answers(self) -> AnyAnswers | None:
        """The answers to the test set; None before ``evaluate``.

        Raises ``DataError`` if they are damaged.
        """
        return None

    def load(self) -> None:
        """Load the network and answer once, so that the first request need not wait.

        Does nothing if already done. Raises ``UserError`` if the network cannot be read.
        """
        if not self._loaded:
            self.probabilities(np.zeros((1, *self.image_shape), dtype=np.uint8))
            self._loaded = True

    @property
    def preprocess(self) -> Preprocess:
        """How an image is prepared. Raises ``UserError`` if there is no model yet."""
        return self.model.preprocess

    @property
    def calibration(self) -> AnyCalibration | None:
        """The calibration, if any. Raises ``UserError`` if there is no model yet."""
        return self.model.calibration

    @property
    def lists_layers(self) -> bool:
        """Whether the model can be looked into. Raises ``UserError`` if there is none yet."""
        return self.model.saved is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K class names."""
        return self.model.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the network's input."""
        return self.preprocess.image_shape

    def prepare(self, name: str, content: bytes) -> Picture:
        """Convert a picture file's bytes to the network's input. Raises ``DataError``."""
        source = PictureSource(name=name, content=content)
        if not content:
            raise DataError(f"{name}: empty; send a PNG, JPEG, WebP, BMP, GIF or TIFF file")
        return prepare(source, self.model.preprocess, self.bounds)

    def probabilities(self, images_NHWC: UInt8Array) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities N×K."""
        return self.model.probabilities(images_NHWC)

    def prediction(self, picture: Picture, row_K: npt.NDArray[np.float32]) -> Prediction:
        """Return the answer for a picture, given its probabilities."""
        task, calibration = self.model.task, self.model.calibration
        return task.prediction(picture, row_K, self.class_names, calibration)


class RunPredictor(Predictor):
    """A run behind the service, finished or not."""

    platform = "firstlight_torch"

    def __init__(self, name: str, folder: RunFolder, bounds: Bounds) -> None:
        """``bounds`` limit each picture."""
        super().__init__(name, folder.path, bounds)
        self._folder = folder
        self._answers: tuple[int, AnyAnswers] | None = None

    @property
    def finished(self) -> bool:
        """Whether the run has finished training."""
        return self._folder.finished

    @cached_property
    def model(self) -> Model:
        """The network, on the CPU. Raises ``UserError`` until the run has finished training."""
        # The computing thread has set its number of threads.
        return replace(run_model(self._folder), threads=None)

    @cached_property
    def _input(self) -> tuple[Preprocess, AnyCalibration | None]:
        from firstlight.runs.checkpoint import load_input  # an exported file needs no PyTorch

        return load_input(self._folder)

    @property
    def preprocess(self) -> Preprocess:
        """How an image is prepared; the weights are not read for it."""
        return self._input[0]

    @property
    def calibration(self) -> AnyCalibration | None:
        """The calibration, if any; the weights are not read for it."""
        return self._input[1]

    @property
    def lists_layers(self) -> bool:
        """A run always can."""
        return True

    @cached_property
    def described(self) -> dict[str, Any]:
        """``data.json``."""
        values: dict[str, Any] = self._folder.read_json("data.json")
        return values

    @property
    def recipe(self) -> Recipe:
        """``recipe.toml``."""
        return self._folder.recipe()

    @property
    def in_training(self) -> bool:
        """Whether a process is training the run now."""
        return self._folder.in_use()

    @property
    def epochs(self) -> list[dict[str, float | None]]:
        """The lines of ``epochs.csv`` so far."""
        return read_epochs(self._folder) if (self.path / "epochs.csv").is_file() else []

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The lines of ``layers.csv`` so far."""
        return read_layers(self._folder)

    @property
    def summary(self) -> dict[str, Any] | None:
        """``summary.json``, of a finished run."""
        values: dict[str, Any] = self._folder.read_json("summary.json")
        return values

    @property
    def metrics(self) -> dict[str, Any] | None:
        """``metrics.json`` of an evaluated run."""
        values: dict[str, Any] = self._folder.read_json("metrics.json")
        return values

    @property
    def evaluated(self) -> bool:
        """Whether ``evaluate`` has been run."""
        return (self.path / "metrics.json").is_file()

    @property
    def answers(self) -> AnyAnswers | None:
        """The answers to the test set; None before ``evaluate``. Changed files are read again.

        Raises ``DataError`` if they are damaged.
        """
        path = self.path / "predictions.csv"
        if not path.is_file() or not self.evaluated:
            return None
        written = path.stat().st_mtime_ns
        if self._answers is None or self._answers[0] != written:
            self._answers = (written, read_any_answers(self._folder))
        return self._answers[1]
