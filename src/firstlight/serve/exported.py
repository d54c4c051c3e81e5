"""An exported file behind the service. Little is known of its training, and its layers are
hidden."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from firstlight.data.decode import Bounds
from firstlight.layers.own_code import OwnCode
from firstlight.recipe import Recipe
from firstlight.runs.folder import RunFolder, open_run_folders
from firstlight.runtime import OnnxModel, is_onnx, open_onnx
from firstlight.serve.predictor import Predictor, RunPredictor

Served = RunFolder | OnnxModel
"""A model that can be served."""


class OnnxPredictor(Predictor):
    """An exported file behind the service, computed by onnxruntime."""

    platform = "onnxruntime_onnx"

    def __init__(self, name: str, model: OnnxModel, bounds: Bounds) -> None:
        """``bounds`` limit each picture."""
        super().__init__(name, model.path, bounds)
        self._model = model

    @property
    def finished(self) -> bool:
        """Always true: a file is complete."""
        return True

    @property
    def model(self) -> OnnxModel:
        """The model that answers."""
        return self._model

    @cached_property
    def described(self) -> dict[str, Any]:
        """The part of its run's ``data.json`` that the file contains."""
        return {
            "image_shape": self._model.preprocess.image_shape,
            "class_names": self._model.class_names,
            **self._model.card["data"],
        }

    @property
    def recipe(self) -> Recipe:
        """The recipe's name; the file does not contain the rest."""
        return Recipe(name=str(self._model.card.get("recipe", "exported")))


def open_served(paths: Sequence[Path], networks: Sequence[OwnCode] = ()) -> list[Served]:
    """Open run folders and exported files; ``networks`` is the user's own code for those runs that
    need it.

    Raises ``UserError`` or ``DataError``.
    """
    folders = open_run_folders([path for path in paths if not is_onnx(path)], networks)
    runs = iter(folders)
    return [open_onnx(path) if is_onnx(path) else next(runs) for path in paths]


def predictor_of(name: str, served: Served, bounds: Bounds) -> Predictor:
    """Return the predictor for a run or file; ``bounds`` limit each picture."""
    if isinstance(served, OnnxModel):
        return OnnxPredictor(name, served, bounds)
    return RunPredictor(name, served, bounds)
