"""A training, decided: one value from what was asked for to the run's first step.

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
    """What is trained on and what is watched."""

    train: Dataset
    rows_M: Int64Array
    """Numbers of the images in ``train`` that are trained on, in an order of content."""
    validation: Dataset | None
    held_M: Int64Array
    """Numbers of the images in ``train`` that are watched and not trained on."""


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """When a training must be over, and how fast it goes here."""

    end: float
    """As ``time.perf_counter`` counts, in seconds."""
    pace: Pace


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two trainings on the same pictures, of which the better is kept."""

    start: str
    """The backbone that it starts from; empty for a network from scratch."""
    size: int | None
    """The side of the pictures that was asked for, if any was."""
    other: str = ""
    """The name of the other run's folder, beside this one; empty before that has begun."""
    other_wrong: int | None = None
    """Held-out images that the other answers wrong, where it is finished before this begins."""
    parts: tuple[Answered, ...] = ()
    """The held-out parts, answered, once this training is finished."""
    held_out: int | None = None
    """Images that both were judged on, once they are."""
    right: int | None = None
    other_right: int | None = None
    log_loss: float | None = None
    """Of their answers, calibrated: the smaller one decides."""
    other_log_loss: float | None = None

    @property
    def told(self) -> str:
        """How the two compare, once they are judged."""
        other = "a network trained from scratch" if self.start else "a pretrained network"
        return (
            f"On {self.held_out:,} held-out pictures, this network gets {self.right:,} "
            f"right{_loss(self.log_loss)} and {other} gets "
            f"{self.other_right:,}{_loss(self.other_log_loss)}. The other run is in the folder "
            f"{self.other}."
        )

    @classmethod
    def from_json(cls, values: Any) -> "Side":
        """From a run folder's file. Raises ``TypeError`` or ``ValueError`` for others' values."""
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
    """What a run is of a search."""

    search: str
    number: int
    settings: dict[str, Any]
    """What the search chose, by key."""
    look: Callable[[EpochRecord], str]
    """Called after each epoch; why the run is to be stopped, or an empty text."""


class PrunedError(Exception):
    """A trial was stopped before its end, as its search wanted it. The message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What is trained, on what, where, and from which weights."""

    request: DataRequest
    recipe: Recipe
    device: str
    """``cpu``, ``cuda`` or ``mps``."""
    threads: int
    start: SavedModel | None = None
    """The weights to begin with, where they are not drawn from the seed."""
    limit: TimeLimit | None = None
    """Where a budget decides the epochs."""
    side: Side | None = None
    """Where another training is to be compared with this one."""
    trial: Trial | None = None
    """Where a search is to find settings."""
    track: tuple[str, ...] = ()
    """Names of the trackers that the run is copied to while it is trained."""
    environments: tuple[dict[str, Any], ...] = ()
    """Of several processes, what each computes with."""

    @property
    def data(self) -> TrainTest:
        """Training and test part; loaded once. Raises ``DataError`` where that fails."""
        return self.request.load()

    @cached_property
    def parts(self) -> Parts:
        """Training and validation images, as the recipe has it."""
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
        if train.held_out_N is not None:  # its maker's validation part is never trained on
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
        """Raise ``UserError`` where network, augmentation, batches or start do not fit the data."""
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
        self._begin(model)  # refuses what does not fit
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
        """The run before its first step, without a folder."""
        train, parts = self.data.train, self.parts
        model = self.architecture.build(reseed(Generator(), self.recipe.train.seed, "weights", 0))
        standardize = self.recipe.network.pixels == "standardize"
        preprocess = preprocess_for(train, standardize=standardize)
        self._begin(model)
        if self.start is not None and not self.recipe.train.start_weights:
            preprocess = pixel_path(preprocess, self.start)
        model = model.to(self.device)
        linear = self._linear(model, preprocess)
        if self.device == "cuda":  # tensor cores want it; on a CPU no difference was measured
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
        """The last layer fitted, and put into the model, where the recipe begins with that."""
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
        """Take over the weights that the run begins with, if any."""
        if self.start is None:
            return
        if self.recipe.train.start_weights:
            model.load_state_dict(self.start.model.state_dict())
        else:
            take_over(model, self.start)

    def _check_small(self) -> None:
        """Raise ``UserError`` where the network cannot take ``small_share``'s smaller images."""
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
    if recipe.train.start_head == "linear":
        raise UserError(
            "a last layer is not fitted yet to several labels for each picture. Train from "
            "scratch: leave out --from"
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
