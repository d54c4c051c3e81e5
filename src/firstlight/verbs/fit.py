"""Train a network and keep everything about it in a run folder."""

import math
import reprlib
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from firstlight.augment.shrink import shrunk_shape
from firstlight.data.dataset import Dataset, Int64Array, TrainTest
from firstlight.data.split import hold_out
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.interrupt import StopRequest
from firstlight.layers.network import Network
from firstlight.layers.own_code import COPY, OwnCode, code_errors, matched, raised_in
from firstlight.memory import give_back
from firstlight.models.as_layers import as_layers, digest
from firstlight.models.catalog import Architecture
from firstlight.models.own_code import built, check
from firstlight.progress import Display
from firstlight.recipe import LEAST_MICRO_BATCH, Recipe
from firstlight.runs import checkpoint, record
from firstlight.runs.checkpoint import SavedModel
from firstlight.runs.folder import RunFolder, create_run, open_run_folder
from firstlight.threads import MOST_THREADS, usable_threads
from firstlight.training.devices import choose_device, repeatable
from firstlight.training.loop import Trainer
from firstlight.training.memory import kept_memory
from firstlight.training.pace import Deadline, measure_pace, rest_of
from firstlight.training.portion import Portion
from firstlight.training.position import EpochRecord, Place
from firstlight.training.randomness import reseed
from firstlight.verbs.finish import finish
from firstlight.verbs.run_data import (
    DataRequest,
    Given,
    data_to_resume,
    describe,
    keep_new_place,
    preprocess_for,
)
from firstlight.verbs.start import check_shape, open_start, request_like, take_over

# A killed run loses at most this many seconds of work, where an epoch takes longer; and short
# epochs are saved at most this often.
CHECKPOINT_SECONDS = 60.0
LEAST_SECONDS = 2.0
# The rest of a budget is for a machine that slows down a little at the end, and for saving.
BUDGET_USED = 0.98
ENDING_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """What is trained on and what is watched."""

    train: Dataset
    rows_M: Int64Array
    """Numbers of the images in ``train`` that are trained on, in an order of content."""
    validation: Dataset | None


def fit(
    request: DataRequest,
    recipe: Recipe,
    display: Display,
    *,
    device: str = "auto",
    root: Path = Path("runs"),
    out: Path | None = None,
    budget: float | None = None,
    started: float | None = None,
) -> RunFolder:
    """Train a new run to its end. Data and device are looked at before the folder is made.

    With ``budget`` (seconds from ``started``, ``time.perf_counter``, or from this call) the
    machine's own speed is measured first, and the recipe gets as many epochs as fit; where it
    changes on the way, so does their number. The run folder's recipe holds both.

    Raises ``UserError`` for what does not fit, and ``RunInterruptedError`` after Ctrl-C, with the
    state saved.
    """
    started = time.perf_counter() if started is None else started
    if budget is not None and not (_is_number(budget) and 0 < budget < math.inf):
        raise UserError(
            f"a budget must be a time above zero, in seconds, not {reprlib.repr(budget)}"
        )
    device, threads = choose_device(device), usable_threads()
    start = _start(recipe)
    if start is not None:
        request = request_like(request, start)
    data = request.load()
    parts = _split(data, recipe)
    if start is not None:
        check_shape(start, data.train.image_shape)
    recipe, given = _settled(recipe, data.train)
    start = start or given
    trial = _architecture(recipe, data.train).build(Generator())  # refuses what does not fit
    _begin(trial, recipe, start, data.train)
    most = min(recipe.train.batch_size, len(parts.rows_M))
    if recipe.network.needs_two and most < 2:
        raise UserError(
            "a network with batch norm, or of code, learns from two images at a time or more; "
            f"there are {len(parts.rows_M)}, in batches of {recipe.train.batch_size}"
        )
    for step in recipe.augment:
        step.check(*data.train.image_shape[:2])
    _check_small(recipe, data.train)
    deadline = None
    if budget is not None:
        recipe, deadline = _within(budget, started, recipe, data, parts, device, threads, start)
    folder = create_run(recipe.name, root=root, out=out)
    folder.code = recipe.network.code
    with folder.locked():
        try:
            folder.write_json("environment.json", record.environment(device, threads))
            trained_on, validation = len(parts.rows_M), parts.validation
            folder.write_json(
                "data.json", describe(request, data, trained_on, validation, folder.path)
            )
            if (code := recipe.network.code) is not None:
                folder.write(COPY, code.source)
            folder.write("recipe.toml", recipe.to_toml())
            if start is not None:
                checkpoint.keep_start(folder, start)
        except DataError:
            folder.discard()
            raise
        _train(folder, recipe, data, parts, display, device, threads, start, deadline)
    return folder


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_small(recipe: Recipe, data: Dataset) -> None:
    """Raise ``UserError`` where the network cannot take the smaller images of ``small_share``."""
    if recipe.train.small_share == 0:
        return
    height, width, channels = data.image_shape
    small = shrunk_shape(height, width)
    architecture = _architecture(recipe, data)
    try:
        replace(architecture, image_shape=(*small, channels)).shapes()
        architecture.check_takes(*small)
    except UserError as error:
        raise UserError(
            f"train.small_share makes images of {height}×{width} smaller, but {error}; "
            "use --set train.small_share=0"
        ) from error


def prepare(recipe: Recipe, data: TrainTest, device: str) -> Trainer:
    """A run before its first step, without a folder: to try something out and throw it away."""
    _check_small(recipe, data.train)
    recipe, given = _settled(recipe, data.train)
    return _trainer(recipe, data, _split(data, recipe), device, _start(recipe) or given)


def resume(
    path: Path,
    display: Display,
    *,
    device: str | None = None,
    data_dir: Path | None = None,
    data: Given = None,
    code: OwnCode | None = None,
) -> RunFolder:
    """Take up a stopped run where it was last saved; it ends with the bits of one never stopped.

    That holds on the machine and the device of the first start; another ``device`` is allowed.
    ``data`` is the data itself, or where it lies now; ``code`` that of the network, where it is
    code.
    """
    folder = open_run_folder(path, code)
    with folder.locked():
        if folder.finished:
            checkpoint.drop_state(folder)  # where the process was killed just before that
            raise UserError(
                f"{path} is finished, there is nothing to resume; "
                f"see: firstlight report {shlex.quote(str(path))}"
            )
        recipe = folder.recipe()
        if (record_of := recipe.network.code) is not None:
            matched(record_of, code, folder.path)
        before = folder.read_json("environment.json")
        loaded = data_to_resume(folder, data_dir, data)
        try:
            where, threads = device or str(before["device"]), int(before["threads"])
            if not 0 < threads <= MOST_THREADS:
                raise ValueError(f"{threads} threads")
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}/environment.json: damaged: {error!r}") from error
        try:
            where = choose_device(where)
        except UserError as error:
            if device is None:
                raise UserError(
                    f"{path} was started on {where}, which is not here; go on with --device cpu, "
                    "which ends with other bits, or where there is one"
                ) from error
            raise
        parts, start = _split(loaded, recipe), checkpoint.load_start(folder)
        if start is None and (recipe.train.start_from or recipe.train.start_weights):
            raise DataError(f"{folder} has no {checkpoint.START_FILE}; the run is damaged")
        if isinstance(data, Path):
            keep_new_place(folder, data)
        _train(folder, recipe, loaded, parts, display, where, threads, start)
    return folder


def _within(
    budget: float,
    started: float,
    recipe: Recipe,
    data: TrainTest,
    parts: _Parts,
    device: str,
    threads: int,
    start: SavedModel | None,
) -> tuple[Recipe, Deadline]:
    """The recipe with as many epochs as fit into ``budget`` seconds from ``started``
    (``time.perf_counter``), and what keeps them inside.

    Raises ``UserError`` where not even one fits, or less than one where the recipe has less.
    """
    with repeatable(threads, device):
        trial = _trainer(recipe, data, parts, device, start)
        with kept_memory():
            pace = measure_pace(trial, budget)
    per_epoch, end = trial.steps_per_epoch, started + BUDGET_USED * budget - ENDING_SECONDS
    left, rest = end - time.perf_counter(), replace(rest_of(trial), at=Place(step=0, epoch=0))
    steps, least = rest.most_steps(left, pace), min(per_epoch, trial.steps)
    if steps < least:
        epoch = rest.seconds(least, pace)
        raise UserError(
            f"{budget:g} s are too few: beside {budget - left:.0f} s to load and to measure, "
            f"{'one epoch takes' if least == per_epoch else 'the recipe takes'} about "
            f"{epoch:.0f} s here; give at least --budget {math.ceil(1.1 * (budget - left + epoch))}"
        )
    epochs = f"train.epochs={steps / per_epoch!r}"
    return recipe.with_settings([epochs], source="--budget"), Deadline(end, pace)


def _split(data: TrainTest, recipe: Recipe) -> _Parts:
    """Training and validation images, as the recipe has it."""
    train = data.train
    if recipe.train.validation == "held-out":
        try:
            kept_N, held_N = hold_out(train, recipe.train.held_out_fraction)
        except ValueError as error:
            raise UserError(f"{error}; use more images or --set train.validation=none") from error
        held = train.take(held_N, name=f"{train.name}, held out")
        return _Parts(train=train, rows_M=kept_N, validation=held)
    rows_N = train.content_order
    if train.held_out_N is not None:  # its maker's validation part is never trained on
        rows_N = rows_N[~train.held_out_N[rows_N]]
    watched = data.test if recipe.train.validation == "test" else None
    return _Parts(train=train, rows_M=rows_N, validation=watched)


def _architecture(recipe: Recipe, train: Dataset) -> Architecture:
    return Architecture(
        network=recipe.network, image_shape=train.image_shape, classes=len(train.class_names)
    )


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
                "train.start_weights: this recipe began with the weights of a module that was "
                'passed as network; pass it again, or set train.start_weights="" for weights '
                "from the seed"
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
                f"network is a module ({code.function}) that nothing can build again later: "
                f"{why}. Pass the function or the class that makes it"
            )
        return replace(recipe, train=replace(recipe.train, start_weights="")), None
    began = replace(recipe.train, start_weights=digest(found.model))
    network = Network(layers=found.layers, pixels=recipe.network.pixels)
    recipe = replace(recipe, network=network, train=began)
    return recipe, SavedModel(
        model=found.model.eval(),
        architecture=_architecture(recipe, train),
        preprocess=preprocess_for(train, standardize=network.pixels == "standardize"),
        class_names=train.class_names,
        calibration=None,
    )


def _begin(model: nn.Module, recipe: Recipe, start: SavedModel | None, train: Dataset) -> None:
    """Take over the weights that a run begins with, if any."""
    if start is None:
        return
    if recipe.train.start_weights:
        model.load_state_dict(start.model.state_dict())
    else:
        take_over(model, start, train.image_shape)


def _train(
    folder: RunFolder,
    recipe: Recipe,
    data: TrainTest,
    parts: _Parts,
    display: Display,
    device: str,
    threads: int,
    start: SavedModel | None,
    deadline: Deadline | None = None,
) -> None:
    with repeatable(threads, device), _told(recipe.network.code):
        trainer = _trainer(recipe, data, parts, device, start)
        saved = checkpoint.load_state(folder)
        if saved is not None:
            try:
                trainer.restore(*saved)
            except ValueError as error:
                raise DataError(f"{folder}/{checkpoint.STATE_FILE}: {error}") from error
        try:
            with kept_memory():
                _run(folder, trainer, display, deadline)
        except torch.OutOfMemoryError as error:
            raise UserError(_too_little_memory(recipe, trainer.images, device)) from error
    with _told(recipe.network.code):
        finish(
            folder,
            trainer,
            _architecture(recipe, data.train),
            data.train.class_names,
            device,
            threads,
        )


@contextmanager
def _told(code: OwnCode | None) -> Iterator[None]:
    """Errors that pass through code of one's own as ``UserError``, with its line."""
    try:
        yield
    except Exception as error:
        if code is None or isinstance(error, UserError) or not raised_in(code.path, error):
            raise
        with code_errors(code.path, "its module"):
            raise


def _too_little_memory(recipe: Recipe, images: int, device: str) -> str:
    """What to try, for an epoch of so many images."""
    batch, part = recipe.train.batch_size, recipe.train.micro_batch_size
    at_once = min(batch, images, part or batch)
    half = at_once // 2
    smaller = (
        f"--set train.micro_batch_size={half}, the same batches in smaller parts"
        if half >= LEAST_MICRO_BATCH
        else "a smaller network"
    )
    return (
        f"the {device} has too little free memory for {at_once} images at once; try {smaller}, "
        "or close what else uses it"
    )


def _start(recipe: Recipe) -> SavedModel | None:
    if not recipe.train.start_from:
        return None
    return open_start(recipe.train.start_from, recipe.network.code)


def _trainer(
    recipe: Recipe, data: TrainTest, parts: _Parts, device: str, start: SavedModel | None
) -> Trainer:
    """The run before its first step."""
    rng = reseed(Generator(), recipe.train.seed, "weights", 0)
    model = _architecture(recipe, data.train).build(rng)
    preprocess = preprocess_for(data.train, standardize=recipe.network.pixels == "standardize")
    _begin(model, recipe, start, data.train)
    if start is not None and not recipe.train.start_weights:
        preprocess = replace(preprocess, mean=start.preprocess.mean, std=start.preprocess.std)
    model = model.to(device)
    if device == "cuda":  # tensor cores want it; on a CPU no difference was measured
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trainer(
        recipe,
        model,
        preprocess,
        _portion(parts.train, parts.rows_M, device),
        None
        if parts.validation is None
        else _portion(parts.validation, np.arange(len(parts.validation)), device),
    )


def _portion(part: Dataset, rows_M: Int64Array, device: str) -> Portion:
    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)

    images, weights_N = part.images_NHWC, part.weights_N
    if weights_N is not None:
        weights_N = weights_N / weights_N[rows_M].mean()
    return Portion(
        images_NHWC=images if isinstance(images, StoredImages) else tensor(images),
        labels_N=tensor(part.labels_N),
        rows_M=tensor(rows_M),
        weights_N=None if weights_N is None else tensor(weights_N.astype(np.float32)),
    )


def _run(folder: RunFolder, trainer: Trainer, display: Display, deadline: Deadline | None) -> None:
    """Drive the loop: save after each epoch and each minute, show, and stop when asked to."""
    saved_at = time.monotonic()
    with StopRequest() as stop, display:
        display.start(trainer)
        for event in trainer.run():
            passed, stopping = time.monotonic() - saved_at, stop.wanted
            ended = isinstance(event, EpochRecord) and passed > LEAST_SECONDS
            if ended or passed > CHECKPOINT_SECONDS or stopping:
                record.write_epochs(folder, trainer.records)
                checkpoint.save_state(folder, *trainer.state())
                give_back()
                saved_at = time.monotonic()
            if isinstance(event, EpochRecord):
                display.epoch(event)
            else:
                if deadline is not None and deadline.look(trainer):
                    folder.write("recipe.toml", trainer.recipe.to_toml())
                display.step(event)
            if stopping:
                code = trainer.recipe.network.code
                raise RunInterruptedError(
                    f"stopped in epoch {event.epoch}, the state is saved. "
                    f"Go on with: firstlight train --resume {shlex.quote(str(folder))}"
                    f"{'' if code is None else f' --network {code.word}'}"
                )
