"""A scikit-learn classifier of images.

Axes: N images, H height, W width, C channels, F features, K classes.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.errors import DataError, NothingLearntWarning
from firstlight.evaluate.predict import probabilities
from firstlight.files import make_folder
from firstlight.models.catalog import Architecture
from firstlight.recipe import Recipe, load_recipe
from firstlight.runs.checkpoint import load_model, save_model
from firstlight.runs.folder import RunFolder
from firstlight.threads import usable_threads
from firstlight.training.devices import choose_device, repeatable
from firstlight.training.memory import kept_memory
from firstlight.verbs.choose import recipe_for
from firstlight.verbs.finish import what_was_not_learnt
from firstlight.verbs.fit import prepare

# Rows of plain features are laid out as a picture at least so wide and high.
_LEAST_SIDE = 6


class FirstlightClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A small network that learns images from arrays, as scikit-learn's estimators do.

    ``X`` is (n, h, w), (n, h, w, c) with 1 or 3 channels, or flat (n, features) with
    ``image_shape``. Pixels are uint8, or numbers of another range, whose least and greatest in
    training become 0 and 255. Flat rows without ``image_shape`` are taken as plain features, each
    with a range of its own: it works, and other estimators do it better.
    """

    def __init__(
        self,
        recipe: str | Path | Recipe | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        settings: Sequence[str] = (),
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        """``recipe``: a name, a TOML file or a value; None for one made for the images.
        ``image_shape``: (h, w) or (h, w, c) of flat rows. ``settings``: ``"section.key=value"``
        changes of the recipe. ``seed`` decides all that is random. ``device``: auto, cpu, cuda or
        mps."""
        self.recipe = recipe
        self.image_shape = image_shape
        self.settings = settings
        self.seed = seed
        self.device = device

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "FirstlightClassifier":
        """Train from fresh weights; ``y`` holds n labels of any kind.

        Raises ``ValueError`` for arrays that do not fit, and ``UserError`` for a recipe that does
        not fit them. Warns with ``NothingLearntWarning`` where the network answers no better than a
        guess.
        """
        values, targets = validate_data(
            self, X, y, allow_nd=True, dtype="numeric", ensure_2d=_is_flat(X)
        )
        check_classification_targets(targets)
        self.classes_, labels_N = np.unique(targets, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a classifier needs samples of at least two classes, got one class: "
                f"{self.classes_[0]!r}"
            )
        images_NHWC = self._images(values, fitting=True)
        train = Dataset(
            name="arrays/train",
            images_NHWC=images_NHWC,
            labels_N=labels_N.astype(np.int64),
            class_names=tuple(str(name) for name in self.classes_),
        )
        self.recipe_ = self._resolved(train)
        device = choose_device(self.device)
        with repeatable(usable_threads(), device):
            trainer = prepare(self.recipe_, TrainTest(train, train), device)
            with kept_memory():
                for _ in trainer.run():
                    pass
            nothing = what_was_not_learnt(trainer, train.class_names)
        if nothing:
            warnings.warn(nothing, NothingLearntWarning, stacklevel=2)
        self.model_ = trainer.answering.eval()
        self.preprocess_ = trainer.preprocess
        return self

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """N×K probabilities, in the order of ``classes_``."""
        check_is_fitted(self)
        values = validate_data(
            self, X, allow_nd=True, dtype="numeric", ensure_2d=_is_flat(X), reset=False
        )
        device = next(self.model_.parameters()).device.type
        with repeatable(usable_threads(), device):
            found_NK = probabilities(
                self.model_, self.preprocess_, self._images(values, fitting=False), device
            ).astype(np.float64)
        result: npt.NDArray[np.float64] = found_NK / found_NK.sum(axis=1, keepdims=True)
        return result

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """N labels: the most probable class of each image."""
        check_is_fitted(self)
        answers: npt.NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return answers

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator into a new folder: weights as safetensors, the rest as JSON.

        Raises ``DataError`` where it cannot be written, and ``ValueError`` for classes that are
        neither numbers, booleans nor text.
        """
        check_is_fitted(self)
        if self.classes_.dtype.kind not in "biufUO" or not all(
            isinstance(name, bool | int | float | str) for name in self.classes_.tolist()
        ):
            raise ValueError(f"classes of type {self.classes_.dtype} cannot be saved")
        folder = RunFolder(Path(path))
        try:
            make_folder(folder.path)
        except OSError as error:
            raise DataError(f"{path}: no folder can be made there: {error.strerror}") from error
        shape = self.preprocess_.image_shape
        architecture = Architecture(
            choice=self.recipe_.model, image_shape=shape, classes=len(self.classes_)
        )
        names = tuple(str(name) for name in self.classes_)
        save_model(folder, self.model_, architecture, self.preprocess_, names)
        folder.write("recipe.toml", self.recipe_.to_toml())
        folder.write_json(
            "estimator.json",
            {
                "classes": self.classes_.tolist(),
                "dtype": str(self.classes_.dtype),
                "image_shape": self.image_shape,
                "seed": self.seed,
                "n_features_in": getattr(self, "n_features_in_", None),
                "input_shape": self.input_shape_,
                "low": self.low_.tolist(),
                "high": self.high_.tolist(),
            },
        )

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "FirstlightClassifier":
        """What ``save`` wrote. Raises ``DataError`` when it is missing or damaged."""
        folder = RunFolder(Path(path))
        saved = load_model(folder, choose_device(device))
        recipe = folder.recipe()
        with folder.trusted():
            values = folder.read_json("estimator.json")
            shape = values["image_shape"]
            loaded = cls(
                recipe,
                image_shape=None if shape is None else tuple(shape),
                seed=values["seed"],
                device=device,
            )
            loaded.recipe_, loaded.model_ = recipe, saved.model
            loaded.preprocess_ = saved.preprocess
            loaded.classes_ = np.array(values["classes"], dtype=np.dtype(values["dtype"]))
            if values["n_features_in"] is not None:
                loaded.n_features_in_ = int(values["n_features_in"])
            loaded.input_shape_ = tuple(values["input_shape"])
            loaded.low_ = np.array(values["low"], dtype=np.float64)
            loaded.high_ = np.array(values["high"], dtype=np.float64)
        return loaded

    def _resolved(self, train: Dataset) -> Recipe:
        """The recipe to train by. Nothing is held out unless the recipe stops by it."""
        if self.recipe is None:
            chosen = recipe_for(train)
        else:
            chosen = self.recipe if isinstance(self.recipe, Recipe) else load_recipe(self.recipe)
        chosen = chosen.with_settings([*self.settings, f"train.seed={int(self.seed)}"])
        if chosen.train.patience == 0:
            chosen = chosen.with_settings(["train.validation=none"])
        most = min(chosen.train.batch_size, len(train))
        return chosen.with_settings([f"train.batch_size={max(1, most)}"])

    def _images(self, X: npt.NDArray[Any], *, fitting: bool) -> npt.NDArray[np.uint8]:
        """uint8 N×H×W×C. Fitting sets the input's shape and range, which later inputs keep to."""
        if fitting:
            self.input_shape_ = X.shape[1:]
        elif X.shape[1:] != self.input_shape_:
            raise ValueError(
                f"fitted on arrays (n, {', '.join(map(str, self.input_shape_))}), got {X.shape}"
            )
        plain = X.ndim == 2 and self.image_shape is None
        if fitting:
            exact = X.dtype == np.uint8 and not plain
            axis = 0 if plain else None
            self.low_ = np.asarray(0.0 if exact else X.min(axis=axis), dtype=np.float64)
            self.high_ = np.asarray(255.0 if exact else X.max(axis=axis), dtype=np.float64)
        width = np.where(self.high_ > self.low_, self.high_ - self.low_, 1.0)
        levels = np.clip((X.astype(np.float64) - self.low_) / width, 0, 1) * 255
        pixels = np.rint(levels).astype(np.uint8)
        if plain:
            return _as_picture(pixels)
        if X.ndim == 2:
            shape = tuple(self.image_shape or ())
            if len(shape) not in (2, 3) or math.prod(shape) != X.shape[1]:
                raise ValueError(
                    f"image_shape {self.image_shape} does not fit rows of {X.shape[1]} features"
                )
            pixels = pixels.reshape(len(X), *shape)
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(
                "wanted images (n, h, w) or (n, h, w, c) with 1 or 3 channels, or flat rows, "
                f"got {X.shape}"
            )
        return pixels


def _is_flat(X: npt.ArrayLike) -> bool:
    """Whether this is rows of features, or not even that."""
    ndim = getattr(X, "ndim", None)
    return (np.asarray(X).ndim if ndim is None else int(ndim)) < 3


def _as_picture(features_NF: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Features as squares of a grid, the rest of it black: uint8 N×H×W×1."""
    count, features = features_NF.shape
    cells = math.ceil(math.sqrt(features))
    block = math.ceil(_LEAST_SIDE / cells)
    grid_NF = np.zeros((count, cells * cells), np.uint8)
    grid_NF[:, :features] = features_NF
    grid_NHW = grid_NF.reshape(count, cells, cells)
    return grid_NHW.repeat(block, axis=1).repeat(block, axis=2)[..., None]
