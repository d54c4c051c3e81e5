"""A planned training: one value with everything from the request to the run's first step.

Axes: N images, M images trained on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from firstlight.augment.shrink import shrunk_shape
from firstlight.data.dataset import Dataset, Int64Array, TrainTest
from firstlight.data.split import hold_out
from firstlight.data.stored import ImagesOnDisk
from firstlight.errors import UserError
from firstlight.models.catalog import Architecture
from firstlight.models.own_code import pass_noise
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.runs.checkpoint import SavedModel
from firstlight.training.loop import Trainer
from firstlight.training.pace import Pace
from firstlight.training.portion import Portion
from firstlight.training.position import EpochRecord
from firstlight.training.processes import current
from firstlight.training.randomness import WINDOW, reseed
from firstlight.training.shards import check_buffers
from firstlight.verbs.held_out import Answered
from firstlight.verbs.linear_start import Images, LinearStart, linear_start, put, scale
from firstlight.verbs.run_data import DataRequest, preprocess_for
from firstlight.verbs.start import check_shape, pixel_path, take_over


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The images to train on, and those to validate on."""

    train: Dataset
    rows_M: Int64Array
    """Indices in ``train`` of the images to train on, in an order that depends on their content."""
    validation: Dataset | None
    held_M: Int64Array
    """Indices in ``train`` of the validation images, which are not trained on."""


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """When a training must end, and its speed on this machine."""

    end: float
    """Seconds on the clock of ``time.perf_counter``."""
    pace: Pace


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two trainings on the same pictures; the better one is kept."""

    start: str
    """The backbone that it starts from; empty for a network from scratch."""
    size: int | None
    """The requested side of the pictures, if any."""
    other: str = ""
    """Name of the other run's folder, beside this one; empty before it has begun."""
    other_wrong: int | None = None
    """Held-out images that the other run got wrong, if it finished before this one began."""
    parts: tuple[Answered, ...] = ()
    """The held-out parts with answers, once this training is finished."""
    held_out: int | None = None
    """Number of images that both were compared on, if done."""
    right: int | None = None
    other_right: int | None = None
    log_loss: float | None = None
    """Log loss of its calibrated answers; the lower one wins."""
    other_log_loss: float | None = None

    @property
    def told(self) -> str:
        """Describe the comparison of the two, once done."""
        other = "a network trained from scratch" if self.start else "a pretrained network"
        return (
            f"On {self.held_out:,} held-out pictures, this network gets {self.right:,} "
            f"right{_loss(self.log_loss)} and {other} gets "
            f"{self.other_right:,}{_loss(self.other_log_loss)}. The other run is in the folder "
            f"{self.other}."
        )

    @classmethod
    def from_json(cls, values: Any) -> "Side":
        """Read from a run folder's file. Raises ``TypeError`` or ``ValueError`` for invalid
        values."""
        parts = tuple(map(Answered.from_json, values.get("parts", ())))
        side = cls(**{**values, "parts": parts})
        numbers = (side.size, side.other_wrong, side.held_out, side.right, side.other_right)
        if not all(one is None or (type(one) is int and one >= 0) for one in numbers):
            raise ValueError(f"no counts: {numbers}")
        losses = (side.log_loss, side.other_log_loss)
        if not all(one is None or (type(one) is float and math.isfinite(one)) for one in losses):
            raise ValueError(f"no losses: {losses}")
        if not all(isinstance(one, str) for one in (side.start, side.other)):
            raise ValueError(f"no names: {side.start!r}, {side.other!r}")
        if side.other != Path(side.other).name or not (side.start or side.other):
            raise ValueError(f"{side.other!r} is no folder beside this one")
        return side


def _loss(log_loss: float | None) -> str:
    return "" if log_loss is None else f" (log loss {log_loss:.3g})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A run's role in a search."""

    search: str
    number: int
    settings: dict[str, Any]
    """The settings that the search chose, by key."""
    look: Callable[[EpochRecord], str]
    """Called after each epoch. Returns why to stop the run, or an empty text."""


class PrunedError(Exception):
    """A search stopped a trial early. The message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What to train, on which data and device, and from which weights."""

    request: DataRequest
    recipe: Recipe
    device: str
    """``cpu``, ``cuda`` or ``mps``."""
    threads: int
    start: SavedModel | None = None
    """The initial weights, if they are not drawn from the seed."""
    limit: TimeLimit | None = None
    """Set if a budget determines the epochs."""
    side: Side | None = None
    """Set if another training is compared with this one."""
    trial: Trial | None = None
    """Where a search is to find settings."""
    track: tuple[str, ...] = ()
    """Names of the trackers that the run is copied to while it is trained."""
    environments: tuple[dict[str, Any], ...] = ()
    """With several processes, the environment of each."""

    @property
    def data(self) -> TrainTest:
        """Training and test part; loaded once. Raises ``DataError`` if that fails."""
        return self.request.load()

    @cached_property
    def parts(self) -> Parts:
        """Training and validation images, according to the recipe."""
        train, choice = self.data.train, self.recipe.train
        if choice.validation == "held-out":
            try:
                kept_N, held_N = hold_out(train, choice.held_out_fraction)
            except ValueError as error:
                raise UserError(
                    f"{error}. Use more images, or --set train.validation=none"
                ) from error
            held = train.take(held_N, name=f"{train.name}, held out")
            return Parts(train=train, rows_M=kept_N, validation=held, held_M=held_N)
        rows_N = train.content_order
        if train.held_out_N is not None:  # a given validation part is never trained on
            rows_N = rows_N[~train.held_out_N[rows_N]]
        watched = self.data.test if choice.validation == "test" else None
        return Parts(train=train, rows_M=rows_N, validation=watched, held_M=rows_N[:0])

    @property
    def architecture(self) -> Architecture:
        """The network for these images and classes."""
        train = self.data.train
        return Architecture(
            network=self.recipe.network,
            image_shape=train.image_shape,
            classes=len(train.class_names),
        )

    def check(self) -> None:
        """Raise ``UserError`` if network, augmentation, batches or start do not fit the data."""
        train, recipe = self.data.train, self.recipe
        if train.shards is not None:
            train.shards.check_room(WINDOW)
        if train.several:
            _check_several(recipe)
        if self.start is not None:
            check_shape(self.start, recipe, train.image_shape)
        if recipe.train.start_head == "linear":
            scale(recipe.network)
        model = self.architecture.build(Generator())
        self._begin(model)  # raises if they do not fit
        if recipe.train.shards and (code := recipe.network.code) is not None:
            check_buffers(model, lambda: pass_noise(code, model, train.image_shape))
        if recipe.network.needs_two and min(recipe.train.batch_size, len(self.parts.rows_M)) < 2:
            raise UserError(
                "a network with batch norm or from your own code needs batches of two images or "
                f"more; got {len(self.parts.rows_M)} images in batches of "
                f"{recipe.train.batch_size}"
            )
        for step in recipe.augment:
            step.check(*train.image_shape[:2])
        self._check_small()

    def trainer(self) -> Trainer:
        """Return the training before its first step, without a folder."""
        train, parts = self.data.train, self.parts
        model = self.architecture.build(reseed(Generator(), self.recipe.train.seed, "weights", 0))
        standardize = self.recipe.network.pixels == "standardize"
        preprocess = preprocess_for(train, standardize=standardize)
        self._begin(model)
        if self.start is not None and not self.recipe.train.start_weights:
            preprocess = pixel_path(preprocess, self.start)
        model = model.to(self.device)
        linear = self._linear(model, preprocess)
        if self.device == "cuda":  # tensor cores need it; on a CPU it made no measurable difference
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        watched = parts.validation
        trainer = Trainer(
            self.recipe,
            model,
            preprocess,
            _portion(parts.train, parts.rows_M, self.device),
            None if watched is None else _portion(watched, np.arange(len(watched)), self.device),
            linear,
        )
        if self.recipe.train.shards:
            trainer.share(current(), self.architecture.classes)
        return trainer

    def _linear(self, model: nn.Module, preprocess: Preprocess) -> LinearStart | None:
        """Fit the last layer and put it into the model, if the recipe starts that way."""
        choice, parts = self.recipe.train, self.parts
        if choice.start_head != "linear":
            return None
        images = Images(
            train=parts.train,
            rows_M=parts.rows_M,
            held_M=parts.held_M,
            balanced=choice.class_weights == "balanced",
            quiet=self.request.quiet,
        )
        found = linear_start(model, preprocess, self.recipe.network, images)
        put(found.first, model, self.recipe.network)
        return found

    def _begin(self, model: nn.Module) -> None:
        """Load the initial weights, if any."""
        if self.start is None:
            return
        if self.recipe.train.start_weights:
            model.load_state_dict(self.start.model.state_dict())
        else:
            take_over(model, self.start)

    def _check_small(self) -> None:
        """Raise ``UserError`` if the network cannot take the smaller images of ``small_share``."""
        if self.recipe.train.small_share == 0:
            return
        architecture = self.architecture
        height, width, channels = architecture.image_shape
        small = shrunk_shape(height, width)
        try:
            replace(architecture, image_shape=(*small, channels)).shapes()
            architecture.check_takes(*small)
        except UserError as error:
            raise UserError(
                f"train.small_share shrinks the images of {height}×{width}, but {error}. Use "
                "--set train.small_share=0"
            ) from error


def _check_several(recipe: Recipe) -> None:
    """Raise ``UserError`` for a choice that has no meaning where images have several labels."""
    if recipe.train.class_weights != "none":
        raise UserError(
            'train.class_weights = "balanced" is for one class for each picture, and these have '
            "several labels. Leave it out"
        )


def _portion(part: Dataset, rows_M: Int64Array, device: str) -> Portion:
    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)

    images, weights_N = part.images_NHWC, part.weights_N
    if weights_N is not None:
        weights_N = weights_N / weights_N[rows_M].mean()
    return Portion(
        images_NHWC=images if isinstance(images, ImagesOnDisk) else tensor(images),
        encoded=part.shards,
        targets=tensor(part.each_label),
        rows_M=tensor(rows_M),
        weights_N=None if weights_N is None else tensor(weights_N.astype(np.float32)),
    )
