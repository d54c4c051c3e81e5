"""A model made ready to answer. Axes: N images, H height, W width, C channels, K classes."""

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
from firstlight.model import Model, run_model
from firstlight.recipe import Recipe
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import Answers, read_answers, read_epochs

UInt8Array = npt.NDArray[np.uint8]


class Predictor(ABC):
    """One model behind the service, and what is known of its training. Nothing is ever written."""

    platform: str
    """What computes, in the protocol's words."""

    def __init__(self, name: str, path: Path, bounds: Bounds) -> None:
        """``bounds``: of each picture."""
        self.name, self.path, self.bounds = name, path, bounds
        self._loaded = False

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether there is something to answer with."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """What answers. Raises ``UserError`` while there is none."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The values of ``data.json``."""

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How it was trained."""

    @property
    def ready(self) -> bool:
        """Whether it has answered, or can."""
        return self._loaded or self.finished

    @property
    def in_training(self) -> bool:
        """Whether a process is training it just now."""
        return False

    @property
    def epochs(self) -> list[dict[str, float | None]]:
        """The lines of ``epochs.csv``; none where the training is not known."""
        return []

    @property
    def summary(self) -> dict[str, Any] | None:
        """The figures that a finished training ended with, where they are known."""
        return None

    @property
    def metrics(self) -> dict[str, Any] | None:
        """What ``evaluate`` measured, where it did."""
        return None

    @property
    def evaluated(self) -> bool:
        """Whether it was measured."""
        return False

    @property
    def answers(self) -> Answers | None:
        """The answers to the test set; None before ``evaluate``.

        Raises ``DataError`` where they are damaged.
        """
        return None

    def load(self) -> None:
        """Read the network and answer once, so that the first who asks does not wait for it.

        Done already, this costs nothing. Raises ``UserError`` where it cannot be read.
        """
        if not self._loaded:
            self.probabilities(np.zeros((1, *self.image_shape), dtype=np.uint8))
            self._loaded = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        return self.model.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network takes."""
        return self.model.preprocess.image_shape

    def prepare(self, name: str, content: bytes) -> Picture:
        """A picture file's bytes as the network takes them. Raises ``DataError``."""
        source = PictureSource(name=name, content=content)
        if not content:
            raise DataError(f"{name}: empty; send a PNG, JPEG, WebP, BMP, GIF or TIFF file")
        return prepare(source, self.model.preprocess, self.bounds)

    def probabilities(self, images_NHWC: UInt8Array) -> npt.NDArray[np.float32]:
        """Calibrated probabilities N×K."""
        return self.model.probabilities(images_NHWC)

    def prediction(self, picture: Picture, row_K: npt.NDArray[np.float32]) -> Prediction:
        """The answer for a picture, from its probabilities."""
        task, calibration = self.model.task, self.model.calibration
        return task.prediction(picture, row_K, self.class_names, calibration)


class RunPredictor(Predictor):
    """One run behind the service, finished or not."""

    platform = "firstlight_torch"

    def __init__(self, name: str, folder: RunFolder, bounds: Bounds) -> None:
        """``bounds``: of each picture."""
        super().__init__(name, folder.path, bounds)
        self._folder = folder
        self._answers: tuple[int, Answers] | None = None

    @property
    def finished(self) -> bool:
        """Whether the run has finished training."""
        return self._folder.finished

    @cached_property
    def model(self) -> Model:
        """The network on the CPU. Raises ``UserError`` until the run has finished training."""
        # The thread that computes has set how many threads it computes with.
        return replace(run_model(self._folder), threads=None)

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
        """Whether a process is training the run just now."""
        return self._folder.in_use()

    @property
    def epochs(self) -> list[dict[str, float | None]]:
        """The lines of ``epochs.csv`` so far."""
        return read_epochs(self._folder) if (self.path / "epochs.csv").is_file() else []

    @property
    def summary(self) -> dict[str, Any] | None:
        """``summary.json``, of a finished run."""
        values: dict[str, Any] = self._folder.read_json("summary.json")
        return values

    @property
    def metrics(self) -> dict[str, Any] | None:
        """``metrics.json``, of a run that was measured."""
        values: dict[str, Any] = self._folder.read_json("metrics.json")
        return values

    @property
    def evaluated(self) -> bool:
        """Whether ``evaluate`` has measured the run."""
        return (self.path / "metrics.json").is_file()

    @property
    def answers(self) -> Answers | None:
        """The answers to the test set; None before ``evaluate``. Read again where they changed.

        Raises ``DataError`` where they are damaged.
        """
        path = self.path / "predictions.csv"
        if not path.is_file() or not self.evaluated:
            return None
        written = path.stat().st_mtime_ns
        if self._answers is None or self._answers[0] != written:
            self._answers = (written, read_answers(self._folder))
        return self._answers[1]
