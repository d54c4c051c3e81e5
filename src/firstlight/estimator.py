"""A scikit-learn classifier of images.

Axes: N images, H height, W width, C channels, F features, K classes.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.levels import BRIGHT
from firstlight.data.missing import refuse_missing
from firstlight.devices import choose_device, repeatable
from firstlight.errors import DataError, NothingLearntWarning, UserError, shortened
from firstlight.evaluate.label_calibration import USUAL
from firstlight.evaluate.predict import probabilities
from firstlight.evaluate.task import Task, task_of
from firstlight.files import make_folder
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.plain import read_json, write_json
from firstlight.recipe import (
    Recipe,
    load_recipe,
    parse_recipe,
    refuse_idle,
    refuse_settings,
    setting_key,
)
from firstlight.runs.checkpoint import SavedModel, apart, load_model, save_model
from firstlight.runs.folder import RunFolder
from firstlight.threads import usable_threads
from firstlight.training.memory import kept_memory
from firstlight.verbs.choose import recipe_for, transfer_recipe
from firstlight.verbs.finish import what_was_not_learnt
from firstlight.verbs.linear_start import finished
from firstlight.verbs.plan import plan_on
from firstlight.verbs.start import backbone_of, open_start

_GO_ON = (
    "Fit on all rows, or continue from a trained network with firstlight.train(data, start=RUN)"
)
_STATE = 1
"""Version of the pickle format."""
_LONG = 800
# With this many images, their brightness resembles that of the training images.
_MANY = 20
# Plain features are arranged as a picture with at least this height and width.
_LEAST_SIDE = 6


class FirstlightClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A small neural network that classifies images in arrays, with scikit-learn's estimator
    interface.

    ``X`` has the shape (n, h, w), (n, h, w, c) with 1 or 3 channels, or flat (n, features) with
    ``image_shape``. Pixels are uint8 from 0 to 255, or numbers in another range; then the training
    minimum and maximum become 0 and 255, and later images must have that range. Flat rows without
    ``image_shape`` are plain features, each with its own range. That works, but other estimators do
    it better.

    ``y`` has n labels of any kind, or, if an image may have several labels or none, the shape
    (n, k) with 0 and 1. Then ``predict`` returns (n, k), ``predict_proba`` the probability of each
    label, also (n, k), and ``score`` the share of images whose labels are all right, as
    scikit-learn's ``MLPClassifier`` does. ``classes_`` is a list with the two classes of each
    label, as in ``MultiOutputClassifier``.

    ``n_jobs`` of a search or a cross-validation trains in several processes. ``pickle``, ``joblib``
    and ``copy.deepcopy`` store a fitted estimator as NumPy arrays and text; the copy gives answers
    with the same bits. A pickle can contain any code: load one only if you trust its author.
    Otherwise use ``save`` and ``load``.
    """

    def __init__(
        self,
        recipe: str | Path | Recipe | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        start: str | Path | None = None,
        settings: str | Sequence[str] = (),
        seed: int = 0,
        device: str = "auto",
        class_weight: dict[Any, float] | str | None = None,
        warm_start: bool = False,
    ) -> None:
        """Set the parameters.

        ``recipe``: a name, a TOML file or a value; None makes one for the images. ``image_shape``:
        (h, w) or (h, w, c) of flat rows. ``start``: the name of a pretrained backbone, such as
        ``"efficientnet_lite0"``, or a run, whose weights are used except for the last layer; the
        network resizes images. ``settings``: changes of the recipe as ``"section.key=value"``.
        ``seed``: determines everything random. ``device``: auto, cpu, cuda or mps.
        ``class_weight``: a dict from class to weight, or ``"balanced"``, as in scikit-learn; it
        replaces the recipe's ``train.class_weights``, and is not for several labels.
        ``warm_start`` is refused, because each ``fit`` starts from new weights.
        """
        self.recipe = recipe
        self.image_shape = image_shape
        self.start = start
        self.settings = settings
        self.seed = seed
        self.device = device
        self.class_weight = class_weight
        self.warm_start = warm_start

    def __getattr__(self, name: str) -> Any:
        if name == "partial_fit":
            raise AttributeError(
                "FirstlightClassifier has no partial_fit: the whole training is planned from its "
                f"first step. {_GO_ON}"
            )
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> "FirstlightClassifier":
        """Train from new weights; ``y`` holds n labels of any kind, or (n, k) with 0 and 1.

        ``sample_weight`` holds n non-negative numbers. They multiply the loss of each row, and are
        scaled to a mean of 1. Rows of weight 0 are left out.

        Raises ``ValueError`` for arrays that do not fit together, and ``UserError`` for a recipe
        that does not fit them. Warns with ``NothingLearntWarning`` if the network is no better than
        guessing.
        """
        if self.warm_start:
            raise ValueError(
                f"warm_start is not supported: each fit trains a new network. {_GO_ON}"
            )
        _refuse_missing(y)
        several = _has_several(y)
        if several and self.class_weight is not None:
            raise ValueError(
                "class_weight is for one label per image, and y has several. Leave it out, or give "
                "each row a weight with sample_weight"
            )
        with _messages_cut():
            values, targets = validate_data(
                self,
                X,
                y,
                allow_nd=True,
                dtype="numeric",
                ensure_2d=_is_flat(X),
                multi_output=several,
            )
            check_classification_targets(targets)
            weights_N = self._weights(values, targets, sample_weight)
        if weights_N is not None:
            counted_N = weights_N > 0
            values, targets, weights_N = values[counted_N], targets[counted_N], weights_N[counted_N]
        labels = self._each_label(targets) if several else self._one_label(targets)
        images_NHWC = self._images(values, fitting=True)
        train = Dataset(
            name="arrays/train",
            images_NHWC=images_NHWC,
            **labels,
            class_names=self._names,
            weights_N=None if weights_N is None else weights_N.astype(np.float32),
        )
        start = None if self.start is None else Path(self.start)
        job = plan_on(TrainTest(train, train), self._resolved(train), self.device, start)
        self.recipe_ = job.recipe
        with repeatable(job.threads, job.device):
            trainer = job.trainer()
            with kept_memory():
                for _ in trainer.run():
                    pass
            nothing = what_was_not_learnt(trainer, train.class_names)
            finished(trainer)
        if nothing:
            warnings.warn(nothing, NothingLearntWarning, stacklevel=2)
        self.model_ = trainer.answering.eval()
        self.preprocess_ = trainer.preprocess
        return self

    def _one_label(self, targets: npt.NDArray[Any]) -> dict[str, Any]:
        """Return ``labels_N`` of the data set, and set ``classes_``."""
        self.classes_: Any
        self.classes_, labels_N = np.unique(targets, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                shortened(
                    "a classifier needs samples of at least two classes, got one class: "
                    f"{self.classes_[0]!r}"
                )
            )
        return {"labels_N": labels_N.astype(np.int64)}

    def _each_label(self, targets: Any) -> dict[str, Any]:
        """Return ``labels_NK`` of the data set, and set ``classes_``."""
        rows_NK = targets.toarray() if hasattr(targets, "toarray") else targets
        found = np.unique(rows_NK)
        if not np.isin(found, (0, 1)).all():
            raise ValueError(
                f"y of shape {rows_NK.shape}: wanted 0 and 1, whether each row has each label, got "
                f"{' and '.join(str(one)[:40] for one in found)}"
            )
        labels_NK = rows_NK.astype(bool)
        if (labels_NK == labels_NK[0]).all():
            raise ValueError(
                f"y of shape {rows_NK.shape}: all rows have the same labels, so there is nothing "
                "to tell apart. Give rows with and without a label"
            )
        both = np.array([0, 1], dtype=rows_NK.dtype)
        self.classes_ = [both.copy() for _ in range(labels_NK.shape[1])]
        return {"labels_NK": labels_NK}

    @property
    def _task(self) -> Task:
        """What the fitted estimator answers: one class, or any of several labels."""
        return task_of(isinstance(self.classes_, list))

    @property
    def _names(self) -> tuple[str, ...]:
        """K: the classes as text, or the numbers of the labels."""
        several = self._task.several
        return tuple(map(str, range(len(self.classes_)) if several else self.classes_))

    def __sklearn_tags__(self) -> Any:
        """Say to scikit-learn that ``y`` may have several labels."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return probabilities N×K, in the order of ``classes_``. Those of classes sum to 1; those
        of several labels are independent."""
        check_is_fitted(self)
        with _messages_cut():
            values = validate_data(
                self, X, allow_nd=True, dtype="numeric", ensure_2d=_is_flat(X), reset=False
            )
        device = next(self.model_.parameters()).device.type
        with repeatable(usable_threads(), device):
            found_NK: npt.NDArray[np.float64] = probabilities(
                self.model_,
                self.preprocess_,
                self._images(values, fitting=False),
                device,
                task=self._task,
            ).astype(np.float64)
        return found_NK if self._task.several else found_NK / found_NK.sum(axis=1, keepdims=True)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return N labels: the most probable class of each image. Of several labels, return N×K
        with 0 and 1: those with a probability of at least one half."""
        check_is_fitted(self)
        found_NK = self.predict_proba(X)
        answers: npt.NDArray[Any]
        if self._task.several:
            answers = (found_NK >= USUAL).astype(self.classes_[0].dtype)
        else:
            answers = self.classes_[found_NK.argmax(axis=1)]
        return answers

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator into a new folder: weights as safetensors, the rest as JSON.

        Raises ``DataError`` if it cannot be written, ``UserError`` if its network is the user's own
        code, and ``ValueError`` for classes that are not numbers, booleans or text.
        """
        check_is_fitted(self)
        self._refuse_code("saved")
        several = self._task.several
        classes = self.classes_[0] if several else self.classes_
        if classes.dtype.kind not in "biufUO" or not all(
            isinstance(name, bool | int | float | str) for name in classes.tolist()
        ):
            raise ValueError(f"classes of type {classes.dtype} cannot be saved")
        folder = RunFolder(Path(path))
        try:
            make_folder(folder.path)
        except OSError as error:
            raise DataError(f"{path}: cannot create a folder there: {error.strerror}") from error
        shape = self.preprocess_.image_shape
        architecture = Architecture(
            network=self.recipe_.network, image_shape=shape, classes=len(self.classes_)
        )
        saved = SavedModel(
            model=self.model_,
            architecture=architecture,
            preprocess=self.preprocess_,
            class_names=self._names,
            task=self._task,
        )
        save_model(folder, saved)
        folder.write("recipe.toml", self.recipe_.to_toml())
        folder.write_json(
            "estimator.json",
            {
                "classes": classes.tolist(),
                "dtype": str(classes.dtype),
                **({"labels": len(self.classes_)} if several else {}),
                "image_shape": self.image_shape,
                "start": None if self.start is None else str(self.start),
                "seed": self.seed,
                "class_weight": _listed(self.class_weight),
                "n_features_in": getattr(self, "n_features_in_", None),
                "input_shape": self.input_shape_,
                "low": self.low_.tolist(),
                "high": self.high_.tolist(),
            },
        )

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "FirstlightClassifier":
        """Load an estimator that ``save`` wrote. Raises ``DataError`` if it is missing or
        damaged."""
        folder = RunFolder(Path(path))
        saved = load_model(folder, choose_device(device))
        recipe = folder.recipe()
        with folder.trusted():
            values = folder.read_json("estimator.json")
            shape = values["image_shape"]
            loaded = cls(
                recipe,
                image_shape=None if shape is None else tuple(shape),
                start=values.get("start"),
                seed=values["seed"],
                device=device,
                class_weight=_unlisted(values.get("class_weight")),
            )
            loaded.recipe_, loaded.model_ = recipe, saved.model
            loaded.preprocess_ = saved.preprocess
            classes = np.array(values["classes"], dtype=np.dtype(values["dtype"]))
            labels = values.get("labels")
            loaded.classes_ = classes if labels is None else [classes.copy() for _ in range(labels)]
            if values["n_features_in"] is not None:
                loaded.n_features_in_ = int(values["n_features_in"])
            loaded.input_shape_ = tuple(values["input_shape"])
            loaded.low_ = np.array(values["low"], dtype=np.float64)
            loaded.high_ = np.array(values["high"], dtype=np.float64)
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for ``pickle``, ``joblib`` and ``copy``.

        It has the fitted network's weights as NumPy arrays by name and, under ``firstlight``, a
        JSON text with everything needed to build the network. It contains no module and no tensor.
        Raises ``UserError`` if the fitted network is the user's own code.
        """
        state = dict(super().__getstate__())
        text: dict[str, Any] = {"format": _STATE}
        if "model_" in state:
            self._refuse_code("pickled or copied")
            tensors = apart(self.model_.state_dict())
            state["model_"] = {name: tensor.numpy() for name, tensor in tensors.items()}
            text["device"] = next(self.model_.parameters()).device.type
            text["preprocess_"] = state.pop("preprocess_").to_json()
        for name in ("recipe", "recipe_"):
            value = state.get(name)
            # A function cannot become text. Before fit, pickle handles it in its own way.
            if isinstance(value, Recipe) and value.network.code is None:
                text[name] = value.to_toml()
                del state[name]
        return {**state, "firstlight": write_json(text)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the network again from the state of ``__getstate__``, on the same kind of device,
        or on the CPU if this machine does not have it.

        Raises ``DataError`` for a state from a newer version.
        """
        values = dict(state)
        if "firstlight" not in values:  # version 0.1.0 pickled the network as a module
            super().__setstate__(values)
            return
        text = read_json(values.pop("firstlight"))
        if text["format"] != _STATE:
            raise DataError(
                f"the estimator was pickled in format {text['format']}; this firstlight reads "
                f"{_STATE}. A newer version may read it"
            )
        for name in {"recipe", "recipe_"} & text.keys():
            values[name] = parse_recipe(text[name], source="the pickled estimator's recipe")
        weights = values.pop("model_", None)
        super().__setstate__(values)
        if weights is None:
            return
        self.preprocess_ = Preprocess.from_json(text["preprocess_"])
        model = Architecture(
            network=self.recipe_.network,
            image_shape=self.preprocess_.image_shape,
            classes=len(self.classes_),
        ).build(torch.Generator())
        # Copy, because arrays that joblib maps from a file are read-only.
        model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
        self.model_ = model.to(_device_or_cpu(text["device"])).eval()

    def _refuse_code(self, what: str) -> None:
        """Raise ``UserError`` if the fitted network is the user's own code."""
        if self.recipe_.network.code is not None:
            raise UserError(
                f"an estimator whose network is code cannot be {what}. Train it with "
                "fl.train(data, network=...): its run records the code"
            )

    def _resolved(self, train: Dataset) -> Recipe:
        """Return the recipe for training. No images are held out unless the recipe needs them to
        stop."""
        network = None if self.start is None else open_start(self.start).architecture.network
        if self.recipe is None and network is not None and backbone_of(network):
            chosen = transfer_recipe(train, str(self.start))
        elif self.recipe is None:
            chosen = recipe_for(train)
        else:
            chosen = self.recipe if isinstance(self.recipe, Recipe) else load_recipe(self.recipe)
        if self.start is not None:  # settings may refer to it
            chosen = replace(chosen, train=replace(chosen.train, start_from=str(self.start)))
        settings = [self.settings] if isinstance(self.settings, str) else self.settings
        refuse_settings(settings, ["train.seed"], "the estimator's seed sets it")
        chosen = chosen.with_settings(
            [*settings, f"train.seed={int(self.seed)}"], source="settings"
        )
        if chosen.train.patience == 0 and chosen.train.validation != "none":
            refuse_settings(
                settings,
                ["train.validation", "train.held_out_fraction"],
                "the estimator holds images out only with train.patience",
            )
        if self.class_weight is not None:
            said = any(one.strip().startswith("train.class_weights") for one in settings)
            if (self.recipe is not None or said) and chosen.train.class_weights != "none":
                raise ValueError(
                    "class_weight and the recipe's train.class_weights both weight the classes. "
                    'Leave one out, or add settings=["train.class_weights=none"]'
                )
            chosen = chosen.with_settings(["train.class_weights=none"])
        if chosen.train.patience == 0:
            chosen = chosen.with_settings(["train.validation=none"])
        # With patience, images are held out, so it decides what the last layer is fitted to.
        refuse_idle(
            chosen, [one for one in settings if setting_key(one) != "train.patience"], "settings"
        )
        most = min(chosen.train.batch_size, len(train))
        return chosen.with_settings([f"train.batch_size={max(1, most)}"])

    def _weights(
        self, values: npt.NDArray[Any], targets: npt.NDArray[Any], given: npt.ArrayLike | None
    ) -> npt.NDArray[np.float64] | None:
        """Return the weight of each row from ``sample_weight`` and ``class_weight``; None if all
        are equal.

        Raises ``ValueError`` for invalid weights.
        """
        if given is None and self.class_weight is None:
            return None
        weights_N = _check_sample_weight(given, values, dtype=np.float64)
        if (weights_N < 0).any() or not (weights_N > 0).any():
            raise ValueError(
                "sample_weight: wanted numbers of 0 or more, and some above 0, got "
                f"{weights_N.min():g} to {weights_N.max():g}"
            )
        if self.class_weight is not None:
            weights_N = weights_N * compute_sample_weight(self.class_weight, targets)
        result: npt.NDArray[np.float64] = weights_N
        return None if (result == result[0]).all() else result

    def _images(self, X: npt.NDArray[Any], *, fitting: bool) -> npt.NDArray[np.uint8]:
        """Return uint8 N×H×W×C. Fitting sets the input's shape and range; later inputs must
        match."""
        if fitting:
            self.input_shape_ = X.shape[1:]
        elif X.shape[1:] != self.input_shape_:
            raise ValueError(
                f"fitted on arrays (n, {', '.join(map(str, self.input_shape_))}), got {X.shape}"
            )
        plain = X.ndim == 2 and self.image_shape is None
        if fitting:
            exact = X.dtype == np.uint8 and not plain and X.max() >= BRIGHT
            axis = 0 if plain else None
            self.low_ = np.asarray(0.0 if exact else X.min(axis=axis), dtype=np.float64)
            self.high_ = np.asarray(255.0 if exact else X.max(axis=axis), dtype=np.float64)
        elif not plain:
            self._check_range(X)
        width = np.where(self.high_ > self.low_, self.high_ - self.low_, 1.0)
        levels = np.clip((X.astype(np.float64) - self.low_) / width, 0, 1) * 255
        pixels = np.rint(levels).astype(np.uint8)
        if plain:
            return _as_picture(pixels)
        if X.ndim == 2:
            shape = tuple(self.image_shape or ())
            if len(shape) not in (2, 3) or math.prod(shape) != X.shape[1]:
                raise ValueError(
                    f"image_shape {str(self.image_shape)[:60]} does not fit rows of {X.shape[1]} "
                    "features"
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

    def _check_range(self, X: npt.NDArray[Any]) -> None:
        """Raise ``ValueError`` for images whose range differs from the training images'."""
        if X.dtype.kind == "b":
            return
        low, high = float(self.low_), float(self.high_)
        least, most, width = float(X.min()), float(X.max()), high - low
        # One picture may be dark, but many dark ones, or one without any light, have another range.
        share = 1 / 8 if len(X) >= _MANY else 1 / 64
        if least < low - width or most > high + width or low < most < low + share * width:
            raise ValueError(
                f"fitted on pixels of {low:g} to {high:g}, got {X.dtype} from {least:g} to "
                f"{most:g}. Scale them to the range of the training images first"
            )


def _device_or_cpu(name: str) -> str:
    try:
        return choose_device(name)
    except UserError:
        return "cpu"


def _refuse_missing(y: Any) -> None:
    """Raise ``ValueError`` naming the first rows without a label."""
    if y is None or hasattr(y, "toarray"):
        return  # scikit-learn reports None; a sparse matrix lacks nothing
    labels = y if isinstance(y, list) else np.asarray(y).reshape(-1)
    columns = len(labels) // len(y) if hasattr(y, "__len__") and len(y) else 1
    try:
        refuse_missing("y", labels, "row", [at // columns for at in range(len(labels))])
    except DataError as error:
        raise ValueError(str(error)) from error


def _has_several(y: Any) -> bool:
    """Whether ``y`` has the shape (n, k) for several labels, in scikit-learn's sense."""
    try:
        if not hasattr(y, "toarray") and np.ndim(y) != 2:
            return False
        return bool(type_of_target(y) == "multilabel-indicator")
    except (ValueError, TypeError):  # which fit reports in its own words
        return False


@contextmanager
def _messages_cut() -> Iterator[None]:
    """Shorten scikit-learn's messages, which may contain the whole array."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        if len(text) <= _LONG:
            raise
        raise ValueError(f"{text[: _LONG // 2]} … {text[-_LONG // 2 :]}") from error


def _is_flat(X: npt.ArrayLike) -> bool:
    """Whether X has two axes (rows of features) or fewer."""
    ndim = getattr(X, "ndim", None)
    return (np.asarray(X).ndim if ndim is None else int(ndim)) < 3


def _listed(class_weight: dict[Any, float] | str | None) -> Any:
    """Convert to a list for JSON, whose object keys can only be texts."""
    if not isinstance(class_weight, dict):
        return class_weight
    return [[np.asarray(key).item(), float(weight)] for key, weight in class_weight.items()]


def _unlisted(values: Any) -> dict[Any, float] | str | None:
    return dict(values) if isinstance(values, list) else values


def _as_picture(features_NF: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Arrange features in a square grid, padded with black: uint8 N×H×W×1."""
    count, features = features_NF.shape
    cells = math.ceil(math.sqrt(features))
    block = math.ceil(_LEAST_SIDE / cells)
    grid_NF = np.zeros((count, cells * cells), np.uint8)
    grid_NF[:, :features] = features_NF
    grid_NHW = grid_NF.reshape(count, cells, cells)
    return grid_NHW.repeat(block, axis=1).repeat(block, axis=2)[..., None]
