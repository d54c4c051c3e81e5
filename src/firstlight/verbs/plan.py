"""Plan a training, once and in one place, for the command, the library, the estimator and the
rest."""

import math
import reprlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

from torch import Generator

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.devices import choose_device, repeatable
from firstlight.errors import UserError
from firstlight.layers.network import Network
from firstlight.layers.own_code import OwnCode
from firstlight.models.as_layers import as_layers, digest
from firstlight.models.catalog import Architecture
from firstlight.models.own_code import built, check
from firstlight.recipe import (
    OWN_NETWORK,
    Recipe,
    Setting,
    load_recipe,
    refuse_idle,
    refuse_settings,
    setting_key,
)
from firstlight.runs.checkpoint import SavedModel
from firstlight.threads import usable_threads
from firstlight.track import refuse_unusable
from firstlight.training.linear_head import need_scipy
from firstlight.training.memory import kept_memory
from firstlight.training.pace import measure_pace, rest_of
from firstlight.training.position import Place
from firstlight.training.randomness import reseed
from firstlight.verbs.choose import default_recipe, recipe_for, transfer_recipe
from firstlight.verbs.job import Job, TimeLimit
from firstlight.verbs.run_data import DataRequest, preprocess_for
from firstlight.verbs.start import backbone_of, open_start, recipe_like, request_like

# The rest of a budget allows for a slower machine towards the end, and for saving.
BUDGET_USED = 0.98
ENDING_SECONDS = 0.1
SHORT = 60.0
"""With a smaller budget in seconds, no fine-tuning follows a fitted last layer: measuring its speed
takes too long."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The time that a training may take, counted from ``started``."""

    seconds: float
    started: float
    """On the clock of ``time.perf_counter``."""
    name: str = "--budget"
    """The caller's name for it."""

    def __post_init__(self) -> None:
        is_number = isinstance(self.seconds, Real) and not isinstance(self.seconds, bool)
        if not is_number or not 0 < self.seconds < math.inf:
            raise UserError(
                f"wanted a budget in seconds, above zero, got {reprlib.repr(self.seconds)}"
            )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A caller's request for a training. The recipe determines everything left out."""

    recipe: str | Path | Recipe | None = None
    """A name, a file or a value; by default the data's own."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """``network``, ``augment``, ``optimizer`` and ``schedule``, which replace the recipe's."""
    settings: Sequence[str | Setting] = ()
    """Changes by key; the last one counts."""
    source: str = "--set"
    """The caller's name for settings without a source of their own."""
    start: Path | None = None
    """A run, or the name of a model in the box, whose weights are used."""
    budget: Budget | None = None
    device: str = "auto"
    track: Sequence[str] = ()
    """Names of trackers that the run is copied to. Raises ``UserError`` if one is not usable."""
    told: Callable[[TrainTest], None] | None = None
    """Hears of the data once it is there."""

    def __post_init__(self) -> None:
        refuse_unusable(self.track)

    @property
    def code(self) -> OwnCode | None:
        """The user's own code that is named as the network."""
        network = self.parts.get("network")
        if isinstance(network, Network):
            return network.code
        return network if isinstance(network, OwnCode) else None


def plan(request: DataRequest, asked: Asked) -> Job:
    """Return the requested job, checked as far as possible without training.

    Loads the data. With a budget, it measures the machine's speed and gives the recipe as many
    epochs as fit. Raises ``UserError`` or ``DataError``, each saying what to do next.
    """
    request.check_name()
    budget, device = asked.budget, choose_device(asked.device)
    if budget is not None:
        refuse_epochs_beside(budget, asked.settings)
    named = asked.recipe
    if named is not None and not isinstance(named, Recipe):
        named = load_recipe(named)
    parts, code = dict(asked.parts), asked.code
    start = None
    if asked.start is not None:
        start = open_start(asked.start, code)
        request = request_like(request, asked.start, start)
        shape = None if request.own is not None else request.load().train.image_shape
        default = named or _default(request, device, asked.start, start)
        chosen = recipe_like(default, asked.start, start, shape)
        if code is not None:
            del parts["network"]  # the run's network is used
    elif named is None and "network" in parts:
        chosen = Recipe(name=OWN_NETWORK)
    else:
        chosen = named or default_recipe(request, device)
    recipe = chosen.with_parts(**parts).with_settings(asked.settings, source=asked.source)
    if recipe.train.start_head == "linear":
        need_scipy()
    if start is None and recipe.train.start_from:
        # The user did not name a hub address that only a recipe contains.
        start = open_start(recipe.train.start_from, recipe.network.code, connect=False)
        request = request_like(request, recipe.train.start_from, start)
    if asked.told is not None:
        asked.told(request.load())
    held_N = request.load().train.held_out_N
    if held_N is not None:
        why = f"the data has a validation part; its {held_N.sum():,} images are held out"
        refuse_settings(asked.settings, ["train.held_out_fraction"], why)
    recipe, given = _settled(recipe, request.load().train)
    job = Job(
        request=request,
        recipe=recipe,
        device=device,
        threads=usable_threads(),
        start=start or given,
        track=tuple(dict.fromkeys(asked.track)),
    )
    job.check()
    return settled(asked, job if budget is None else within(budget, job))


def settled(asked: Asked, job: Job) -> Job:
    """Return the job, once its epochs are known. Raises ``UserError`` if a requested setting has no
    effect."""
    refuse_idle(job.recipe, asked.settings, asked.source, parts=tuple(asked.parts))
    return job


def changed(job: Job, settings: Sequence[str]) -> Job:
    """Return the job with other settings of its recipe, and the same data, device and start."""
    other = replace(job, recipe=job.recipe.with_settings(settings))
    other.check()
    return other


def plan_on(
    data: TrainTest, recipe: Recipe, device: str = "auto", start: Path | None = None
) -> Job:
    """Return the job that trains a recipe on loaded data."""
    request = DataRequest(name=data.train.name.partition("/")[0], data=data)
    return plan(request, Asked(recipe=recipe, device=device, start=start))


def _default(request: DataRequest, device: str, where: Path, start: SavedModel) -> Recipe:
    """Return the data's own recipe, for a network that comes from ``where``."""
    if backbone_of(start.architecture.network):
        need_scipy()  # before pictures are decoded
        return transfer_recipe(request.load().train, str(where))
    if request.own is None:
        return default_recipe(request, device)
    words = f"the network of {where.name}, its last layer new"
    return recipe_for(request.load().train, words)


def refuse_epochs_beside(budget: Budget, settings: Sequence[str | Setting]) -> None:
    """Raise ``UserError`` if a setting that the budget determines is given too."""
    decided = ("train.epochs", "train.replanned")
    given = [
        one.source if isinstance(one, Setting) else one
        for one in settings
        if setting_key(one) in decided
    ]
    if given:
        raise UserError(f"{budget.name} chooses the epochs; leave out {' and '.join(given)}")


def _settled(recipe: Recipe, train: Dataset) -> tuple[Recipe, SavedModel | None]:
    """Return the recipe with code of plain known layers converted to a list, and the network with
    the weights that came with it.

    Raises ``UserError`` if the user's own code makes no trainable module, or if a recipe needs
    weights that were not given.
    """
    code, seed = recipe.network.code, recipe.train.seed
    if code is None:
        if recipe.train.start_weights:
            raise UserError(
                "train.start_weights: this recipe started from the weights of a module that was "
                'passed as network. Pass it again, or set train.start_weights="" to start from '
                "the seed"
            )
        return recipe, None
    shape, classes = train.image_shape, len(train.class_names)

    def rng() -> Generator:
        return reseed(Generator(), seed, "weights", 0)

    check(code, shape, classes, rng)
    found = as_layers(built(code, shape, classes, rng()), shape, classes)
    if found.model is None or recipe.train.start_from:
        if not code.rebuilds:
            why = found.why or "it is to start from another run"
            raise UserError(
                f"network is a module ({code.function}) that cannot be built again later: {why}. "
                "Pass the function or class that makes it"
            )
        return replace(recipe, train=replace(recipe.train, start_weights="")), None
    began = replace(recipe.train, start_weights=digest(found.model))
    network = Network(layers=found.layers, pixels=recipe.network.pixels)
    return replace(recipe, network=network, train=began), SavedModel(
        model=found.model.eval(),
        architecture=Architecture(network=network, image_shape=shape, classes=classes),
        preprocess=preprocess_for(train, standardize=network.pixels == "standardize"),
        class_names=train.class_names,
        calibration=None,
    )


def within(budget: Budget, job: Job) -> Job:
    """Return the job with as many epochs as fit into the budget, and with a time limit that
    enforces it. With several processes, the first one's clock counts.

    Raises ``UserError`` if not even one epoch fits, or less if the recipe has less.
    """
    if job.recipe.train.start_head == "linear" and budget.seconds < SHORT:
        return changed(job, ["train.epochs=0"])
    with repeatable(job.threads, job.device):
        trial = job.trainer()
        with kept_memory():
            pace = measure_pace(trial, budget.seconds)
    per_epoch = trial.steps_per_epoch
    end = trial.decided(budget.started + BUDGET_USED * budget.seconds - ENDING_SECONDS)
    left = end - trial.decided(time.perf_counter())
    rest = replace(rest_of(trial), at=Place(step=0, epoch=0))
    steps, least = rest.most_steps(left, pace), min(per_epoch, trial.steps)
    if job.recipe.train.start_head == "linear":
        steps, least = steps if left > 0 else 0, 0  # the fitted last layer can answer on its own
    if steps < least:
        epoch = rest.seconds(least, pace)
        enough = math.ceil(1.1 * (budget.seconds - left + epoch))
        raise UserError(
            f"{budget.seconds:g} s is too short: besides {budget.seconds - left:.0f} s for "
            "loading and measuring, "
            f"{'one epoch takes' if least == per_epoch else 'the recipe takes'} about "
            f"{epoch:.0f} s here. Give at least {budget.name} {enough}"
        )
    epochs = f"train.epochs={steps / per_epoch!r}"
    recipe = job.recipe.with_settings([epochs], source=budget.name)
    return replace(job, recipe=recipe, limit=TimeLimit(end=end, pace=pace))
