"""Train a network and save everything about it in a run folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from firstlight.devices import choose_device, repeatable
from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.interrupt import StopRequest
from firstlight.layers.own_code import COPY, OwnCode, code_errors, matched, raised_in
from firstlight.memory import give_back
from firstlight.progress import Display
from firstlight.recipe import LEAST_MICRO_BATCH
from firstlight.runs import checkpoint, record
from firstlight.runs.folder import (
    CONTEST_FILE,
    TRIAL_FILE,
    RunFolder,
    create_run,
    open_run_folder,
)
from firstlight.threads import MOST_THREADS
from firstlight.track.copying import trackers_of
from firstlight.training.loop import Trainer
from firstlight.training.memory import kept_memory
from firstlight.training.pace import Deadline
from firstlight.training.position import EpochRecord
from firstlight.training.rival import Rival
from firstlight.untrusted import shell_word
from firstlight.verbs.finish import finish
from firstlight.verbs.job import Job, PrunedError, Side, Trial
from firstlight.verbs.linear_start import LinearStart
from firstlight.verbs.run_data import (
    DataRequest,
    Given,
    data_to_resume,
    describe,
    keep_new_place,
)
from firstlight.verbs.track import Copies, copied

# A killed run loses at most this many seconds of work if an epoch takes longer; short epochs are
# saved at most this often.
CHECKPOINT_SECONDS = 60.0
LEAST_SECONDS = 2.0


def fit(job: Job, display: Display, *, out: Path | None = None) -> RunFolder:
    """Train a new run to its end, in ``out`` or in a folder under ``runs``.

    Raises ``RunInterruptedError`` after Ctrl-C, with the state saved, and ``PrunedError`` for a
    trial that its search stops.
    """
    folder = create_run(job.recipe.name, root=Path("runs"), out=out)
    folder.code = job.recipe.network.code
    with folder.locked():
        try:
            environment = record.environment(job.device, job.threads)
            if job.environments:
                environment["processes"] = job.environments
            folder.write_json("environment.json", environment)
            trained_on, validation = len(job.parts.rows_M), job.parts.validation
            described = describe(job.request, job.data, trained_on, validation, folder.path)
            folder.write_json("data.json", described)
            if (code := job.recipe.network.code) is not None:
                folder.write(COPY, code.source)
            if job.side is not None:
                folder.write_json(CONTEST_FILE, asdict(job.side))
            if job.trial is not None:
                _note_trial(folder, job.trial, "running")
            folder.write("recipe.toml", job.recipe.to_toml())
            if job.start is not None:
                checkpoint.keep_start(folder, job.start)
        except UserError:
            folder.discard()
            raise
        if job.trial is None:
            _train(folder, job, display)
        else:
            _try(folder, job, job.trial, display)
    return folder


def _try(folder: RunFolder, job: Job, trial: Trial, display: Display) -> None:
    """Train a trial, and record its outcome in its folder."""
    try:
        _train(folder, job, display)
    except PrunedError as error:
        _note_trial(folder, trial, "stopped early", str(error))
        raise
    except UserError as error:
        if not isinstance(error, DataError):
            _note_trial(folder, trial, "stopped", str(error))
        raise
    _note_trial(folder, trial, "finished")


def _note_trial(folder: RunFolder, trial: Trial, state: str, why: str = "") -> None:
    values = {"search": trial.search, "number": trial.number, "settings": trial.settings}
    folder.write_json(TRIAL_FILE, {**values, "state": state, "why": why})


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedAgain:
    """What a caller may change about a resumed run. Everything left out stays the same."""

    device: str | None = None
    data_dir: Path | None = None
    data: Given = None
    """The data, or its new location."""
    code: OwnCode | None = None
    """The user's own code of the network, if any."""


AS_IT_WAS = AskedAgain()


def resume(path: Path, display: Display, again: AskedAgain = AS_IT_WAS) -> RunFolder:
    """Resume a stopped run from its last saved state. The result has the bits of an uninterrupted
    run.

    That holds on the machine and the device of the first start; another device is allowed.
    """
    folder = open_run_folder(path, again.code)
    with folder.locked():
        if folder.finished:
            checkpoint.drop_state(folder)  # the process was killed just before this line
            raise UserError(
                f"{path} is finished, so there is nothing to resume. See it with: firstlight "
                f"report {shell_word(path)}"
            )
        recipe = folder.recipe()
        if (record_of := recipe.network.code) is not None:
            matched(record_of, again.code, folder.path)
        before = folder.read_json("environment.json")
        loaded = data_to_resume(folder, again.data_dir, again.data)
        try:
            where, threads = again.device or str(before["device"]), int(before["threads"])
            if not 0 < threads <= MOST_THREADS:
                raise ValueError(f"{threads} threads")
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}/environment.json: damaged: {error!r}") from error
        try:
            where = choose_device(where)
        except UserError as error:
            if again.device is None:
                raise UserError(
                    f"{path} was started on {where}, which this machine does not have. Continue "
                    "with --device cpu (the result will differ slightly), or on a machine that "
                    "has one"
                ) from error
            raise
        start = checkpoint.load_start(folder)
        if start is None and (recipe.train.start_from or recipe.train.start_weights):
            raise DataError(f"{folder} has no {checkpoint.START_FILE}: the run is damaged")
        if isinstance(again.data, Path):
            keep_new_place(folder, again.data)
        request = DataRequest.from_json(folder.read_json("data.json"), again.data_dir, loaded)
        job = Job(
            request=request,
            recipe=recipe,
            device=where,
            threads=threads,
            start=start,
            side=side_of(folder),
            track=tuple(trackers_of(folder)),
        )
        _train(folder, job, display)
    return folder


def _train(folder: RunFolder, job: Job, display: Display) -> None:
    try:
        with copied(folder, job.track, display) as copies:
            _trained(folder, job, display, copies)
    except KeyboardInterrupt as error:  # where no step is done, or the second time
        raise _stopped(folder, job.recipe.network.code, "stopped") from error


def _trained(folder: RunFolder, job: Job, display: Display, copies: Copies) -> None:
    code = job.recipe.network.code
    with repeatable(job.threads, job.device), _told(code):
        trainer = job.trainer()
        if isinstance(trainer.fitted, LinearStart):
            for note in trainer.fitted.notes:
                display.say(note)
        saved = checkpoint.load_state(folder)
        if saved is not None:
            try:
                trainer.restore(*saved)
            except ValueError as error:
                raise DataError(f"{folder}/{checkpoint.STATE_FILE}: {error}") from error
        try:
            with kept_memory():
                _run(folder, trainer, display, job, copies)
        except torch.OutOfMemoryError as error:
            raise UserError(_too_little_memory(job, trainer.images_per_epoch)) from error
    with _told(code):
        finish(folder, job, trainer, display)


@contextmanager
def _told(code: OwnCode | None) -> Iterator[None]:
    """Convert errors in the user's own code to ``UserError``, with the line."""
    try:
        yield
    except Exception as error:
        if code is None or isinstance(error, UserError) or not raised_in(code.path, error):
            raise
        with code_errors(code.path, "its module"):
            raise


def _too_little_memory(job: Job, images: int) -> str:
    """Suggest a remedy for too little memory, for an epoch of ``images`` images."""
    batch, part = job.recipe.train.batch_size, job.recipe.train.micro_batch_size
    at_once = min(batch, images, part or batch)
    half = at_once // 2
    smaller = (
        f"--set train.micro_batch_size={half} (gradient accumulation: the same batches in "
        "smaller parts)"
        if half >= LEAST_MICRO_BATCH
        else "a smaller network"
    )
    return (
        f"the {job.device} has too little free memory for {at_once} images at once. Try "
        f"{smaller}, or close other programs that use it"
    )


def _run(folder: RunFolder, trainer: Trainer, display: Display, job: Job, copies: Copies) -> None:
    """Run the training loop: save after each epoch and each minute, show progress, and stop on
    request."""
    limit, side, saved_at = job.limit, job.side, time.monotonic()
    deadline = None if limit is None else Deadline(limit.end, limit.pace)
    wrong = None if side is None else side.other_wrong
    rival = None if wrong is None else Rival(wrong=wrong)
    with StopRequest() as stop, display:
        display.start(trainer)
        for event in trainer.run():
            behind = isinstance(event, EpochRecord) and rival is not None and rival.look(trainer)
            if behind:
                folder.write("recipe.toml", trainer.recipe.to_toml())
                deadline = None  # there is enough time
            passed, stopping = time.monotonic() - saved_at, stop.wanted
            if trainer.shards is not None:  # all processes stop after the same step
                trainer.shards.stop, stopping = stopping, trainer.shards.stopping
            ended = isinstance(event, EpochRecord) and passed > LEAST_SECONDS
            if ended or passed > CHECKPOINT_SECONDS or stopping:
                record.write_epochs(folder, trainer.records, trainer.layers)
                checkpoint.save_state(folder, *trainer.state())
                give_back()
                saved_at = time.monotonic()
            if isinstance(event, EpochRecord):
                display.epoch(event)
                copies.look()
                if job.trial is not None:
                    _look(job.trial, event, folder, trainer)
                if behind and rival is not None:
                    display.say(_far_behind(trainer, rival))
            else:
                if deadline is not None and deadline.look(trainer):
                    folder.write("recipe.toml", trainer.recipe.to_toml())
                display.step(event)
            if stopping:
                where = f"stopped in epoch {event.epoch}; its state is saved"
                raise _stopped(folder, trainer.recipe.network.code, where)


def _look(trial: Trial, event: EpochRecord, folder: RunFolder, trainer: Trainer) -> None:
    """Raise ``PrunedError`` if the search stops the run before its last epoch."""
    why = trial.look(event)
    if why and event.steps < trainer.steps:
        record.write_epochs(folder, trainer.records, trainer.layers)
        checkpoint.drop_state(folder, start=False)
        raise PrunedError(why)


def _far_behind(trainer: Trainer, rival: Rival) -> str:
    watched = len(trainer.validation or ())
    return (
        f"So far it gets {rival.fewest_wrong(trainer):,} of {watched:,} held-out pictures wrong, "
        f"the other network {rival.wrong:,}. So it stops after {trainer.epochs} epochs"
    )


def side_of(folder: RunFolder) -> Side | None:
    """Read a run's role in a contest from its folder; None if it was trained alone. Raises
    ``DataError`` if the file is damaged."""
    if not (folder.path / CONTEST_FILE).is_file():
        return None
    values = folder.read_json(CONTEST_FILE)
    with folder.trusted():
        return Side.from_json(values)


def _stopped(folder: RunFolder, code: OwnCode | None, where: str) -> RunInterruptedError:
    more = "" if code is None else f" --network {code.word}"
    again = f"firstlight train --resume {shell_word(folder)}{more}"
    return RunInterruptedError(f"{where}. Continue with: {again}")
