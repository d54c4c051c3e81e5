"""An exported file behind the service, in place of a run. It answers; there is nothing inside it to
show. Axes: N images, K classes.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from firstlight.data.decode import Bounds
from firstlight.errors import DataError
from firstlight.layers.own_code import OwnCode
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.runs.folder import RunFolder, open_run_folders
from firstlight.runtime import OnnxModel, is_onnx, open_onnx
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor

if TYPE_CHECKING:
    from firstlight.runs.checkpoint import SavedModel


class ExportedFile(RunFolder):
    """What an exported file says of its run, where a run's folder is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.model = open_onnx(path)

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return self.model.name

    @property
    def finished(self) -> bool:
        """A file is there as a whole."""
        return True

    def recipe(self) -> Recipe:
        """Its name; the rest is not in the file."""
        return Recipe(name=str(self.model.card.get("recipe", "exported")))

    def read_json(self, name: str) -> Any:
        """``data.json``, as far as the file has it; nothing of ``summary.json``."""
        if name == "summary.json":
            return None
        if name != "data.json":
            raise DataError(f"{self.path} has no {name}; the run it was exported from has")
        return {
            "image_shape": self.model.preprocess.image_shape,
            "class_names": self.model.class_names,
            **self.model.card["data"],
        }


class OnnxPredictor(Predictor):
    """One exported file behind the service, computed by onnxruntime."""

    platform = "onnxruntime_onnx"
    folder: ExportedFile

    @cached_property
    def saved(self) -> "SavedModel":
        """The values that routes read. Its network is refused."""
        return cast("SavedModel", _Values(self.folder.model))

    def probabilities(self, images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Calibrated probabilities N×K."""
        return self.folder.model.probabilities(images_NHWC)


class _Values:
    """Of a ``SavedModel`` what an exported file has."""

    def __init__(self, model: OnnxModel) -> None:
        self.preprocess: Preprocess = model.preprocess
        self.class_names, self.calibration = model.class_names, model.calibration
        self.threshold = model.threshold

    @property
    def model(self) -> NoReturn:
        raise RefusedError(
            status=409, message="an exported file cannot be looked into; serve its run for that"
        )


def open_served(paths: Sequence[Path], networks: Sequence[OwnCode] = ()) -> list[RunFolder]:
    """Run folders and exported files; ``networks`` is the code of the runs whose network is code.

    Raises ``UserError`` or ``DataError``.
    """
    runs = iter(open_run_folders([path for path in paths if not is_onnx(path)], networks))
    return [ExportedFile(path) if is_onnx(path) else next(runs) for path in paths]


def predictor_of(name: str, folder: RunFolder, bounds: Bounds) -> Predictor:
    """What answers for it; ``bounds``: of each picture."""
    kind = OnnxPredictor if isinstance(folder, ExportedFile) else Predictor
    return kind(name, folder, bounds)
