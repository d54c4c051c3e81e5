"""What is to be trained, decided once, for the command, the library, the estimator and the rest."""

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

# The rest of a budget is for a machine that slows down a little at the end, and for saving.
BUDGET_USED = 0.98
ENDING_SECONDS = 0.1
SHORT = 60.0
"""In a budget of fewer seconds no fitted last layer is followed by fine-tuning: to measure how long
that takes takes long."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A time that a training may take, from ``started`` on."""

    seconds: float
    started: float
    """As ``time.perf_counter`` counts."""
    name: str = "--budget"
    """What the caller calls it."""

    def __post_init__(self) -> None:
        is_number = isinstance(self.seconds, Real) and not isinstance(self.seconds, bool)
        if not is_number or not 0 < self.seconds < math.inf:
            raise UserError(
                f"wanted a budget in seconds, above zero, got {reprlib.repr(self.seconds)}"
            )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a caller wants of a training. All that is left out, the recipe decides."""

    recipe: str | Path | Recipe | None = None
    """A name, a file or a value; else the data's own."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """``network``, ``augment``, ``optimizer`` and ``schedule`` in place of the recipe's."""
    settings: Sequence[str | Setting] = ()
    """Changes by key, the last one counts."""
    source: str = "--set"
    """What the caller calls settings that do not say it."""
    start: Path | None = None
    """A run, or the name of a model in the box, whose weights are taken over."""
    budget: Budget | None = None
    device: str = "auto"
    track: Sequence[str] = ()
    """Names of trackers that the run is copied to. Raises ``UserError`` where one is unusable."""
    told: Callable[[TrainTest], None] | None = None
    """Hears of the data once it is there."""

    def __post_init__(self) -> None:
        refuse_unusable(self.track)

    @property
    def code(self) -> OwnCode | None:
        """Code of one's own that is named as the network."""
        network = self.parts.get("network")
        if isinstance(network, Network):
            return network.code
        return network if isinstance(network, OwnCode) else None


def plan(request: DataRequest, asked: Asked) -> Job:
    """The job that is asked for, checked as far as that goes without training it.

    Loads the data. With a budget the machine's own speed is measured, and the recipe gets as many
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
            del parts["network"]  # it is the run's
    elif named is None and "network" in parts:
        chosen = Recipe(name=OWN_NETWORK)
    else:
        chosen = named or default_recipe(request, device)
    recipe = chosen.with_parts(**parts).with_settings(asked.settings, source=asked.source)
    if recipe.train.start_head == "linear":
        need_scipy()
    if start is None and recipe.train.start_from:
        # Nobody named an address of the hub that a recipe holds.
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
    """The job, whose epochs are known. Raises ``UserError`` where something was asked for that it
    does not read."""
    refuse_idle(job.recipe, asked.settings, asked.source, parts=tuple(asked.parts))
    return job


def changed(job: Job, settings: Sequence[str]) -> Job:
    """The job with other choices of its recipe; the data, the device and the start are the same."""
    other = replace(job, recipe=job.recipe.with_settings(settings))
    other.check()
    return other


def plan_on(
    data: TrainTest, recipe: Recipe, device: str = "auto", start: Path | None = None
) -> Job:
    """The training of a recipe on data that is here."""
    request = DataRequest(name=data.train.name.partition("/")[0], data=data)
    return plan(request, Asked(recipe=recipe, device=device, start=start))


def _default(request: DataRequest, device: str, where: Path, start: SavedModel) -> Recipe:
    """The data's own recipe, for a network that comes from ``where``."""
    if backbone_of(start.architecture.network):
        need_scipy()  # before pictures are decoded
        return transfer_recipe(request.load().train, str(where))
    if request.own is None:
        return default_recipe(request, device)
    words = f"the network of {where.name}, its last layer new"
    return recipe_for(request.load().train, words)


def refuse_epochs_beside(budget: Budget, settings: Sequence[str | Setting]) -> None:
    """Raise ``UserError`` where what a budget is to choose is given beside it."""
    decided = ("train.epochs", "train.replanned")
    given = [
        one.source if isinstance(one, Setting) else one
        for one in settings
        if setting_key(one) in decided
    ]
    if given:
        raise UserError(f"{budget.name} chooses the epochs; leave out {' and '.join(given)}")


def _settled(recipe: Recipe, train: Dataset) -> tuple[Recipe, SavedModel | None]:
    """The recipe with code that makes plain known layers as their list; and then the network with
    the weights that came with it.

    Raises ``UserError`` where code of one's own makes no module that can be trained, or a recipe
    needs weights that did not come.
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
    """The job with as many epochs as fit into the budget, and what keeps them inside. Of several
    processes the first one's clock decides.

    Raises ``UserError`` where not even one fits, or less than one where the recipe has less.
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
        steps, least = steps if left > 0 else 0, 0  # the fitted last layer alone answers too
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
