"""A run made ready to answer. Axes: N images, H height, W width, C channels, K classes."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.data.decode import Bounds
from firstlight.data.pictures import Picture, PictureSource, prepare
from firstlight.errors import DataError
from firstlight.evaluate.prediction import Prediction, prediction
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import Answers, read_answers

if TYPE_CHECKING:
    from firstlight.runs.checkpoint import SavedModel

UInt8Array = npt.NDArray[np.uint8]


class Predictor:
    """One run behind the service. It reads the run's folder and never writes there."""

    platform = "firstlight_torch"
    """What computes, in the protocol's words."""

    def __init__(self, name: str, folder: RunFolder, bounds: Bounds) -> None:
        """``bounds``: of each picture."""
        self.name, self.folder, self.bounds = name, folder, bounds
        self._answers: tuple[int, Answers] | None = None
        self._loaded = False

    @property
    def ready(self) -> bool:
        """Whether the run has finished training, so that there is something to answer with."""
        return self._loaded or self.folder.finished

    @cached_property
    def saved(self) -> "SavedModel":
        """The network on the CPU. Raises ``UserError`` until the run has finished training."""
        from firstlight.runs.checkpoint import load_model

        self.folder.require_finished()
        return load_model(self.folder)

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
        return self.saved.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network takes."""
        return self.saved.preprocess.image_shape

    @cached_property
    def described(self) -> dict[str, Any]:
        """``data.json``."""
        values: dict[str, Any] = self.folder.read_json("data.json")
        return values

    @property
    def answers(self) -> Answers | None:
        """The answers to the test set; None before ``evaluate``. Read again where they changed.

        Raises ``DataError`` where they are damaged.
        """
        path = self.folder.path / "predictions.csv"
        if not path.is_file() or not (self.folder.path / "metrics.json").is_file():
            return None
        written = path.stat().st_mtime_ns
        if self._answers is None or self._answers[0] != written:
            self._answers = (written, read_answers(self.folder))
        return self._answers[1]

    def prepare(self, name: str, content: bytes) -> Picture:
        """A picture file's bytes as the network takes them. Raises ``DataError``."""
        source = PictureSource(name=name, content=content)
        if not content:
            raise DataError(f"{name}: no bytes came; send a PNG, JPEG, WebP, BMP, GIF or TIFF file")
        return prepare(source, self.saved.preprocess, self.bounds)

    def probabilities(self, images_NHWC: UInt8Array) -> npt.NDArray[np.float32]:
        """Calibrated probabilities N×K."""
        from firstlight.evaluate.predict import probabilities

        saved = self.saved
        return probabilities(saved.model, saved.preprocess, images_NHWC, "cpu", saved.temperature)

    def prediction(self, picture: Picture, row_K: npt.NDArray[np.float32]) -> Prediction:
        """The answer for a picture, from its probabilities."""
        return prediction(
            picture.name,
            row_K,
            self.class_names,
            notes=picture.notes,
            image_HWC=picture.image_HWC,
            calibration=self.saved.calibration,
        )
