"""Search for the settings of a recipe: trials on held-out images, shared by any number of workers;
then an evaluation of the chosen one on the test set, with several seeds."""

import math
import re
import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.files import check_takes_files, make_folder, unwritable
from firstlight.packages import imported
from firstlight.plain import read_json, shown, write_json
from firstlight.progress import Display
from firstlight.recipe import Recipe, Setting, recipe_of, refuse_settings, setting_key
from firstlight.toml_text import toml_value
from firstlight.training.position import EpochRecord
from firstlight.verbs.evaluate import evaluate
from firstlight.verbs.fit import fit
from firstlight.verbs.job import Job, PrunedError, Trial
from firstlight.verbs.plan import Asked, Budget, plan
from firstlight.verbs.run_data import DataRequest
from firstlight.verbs.search_space import (
    Space,
    as_table,
    default_space,
    own_values,
    plain_settings,
    read_space,
    space_of,
)

if TYPE_CHECKING:
    from firstlight.verbs.shared_work import Result, SharedWork, Turn

TRIALS = 30
"""Number of trials, if neither a number nor a budget is given."""
SEEDS = 3
"""Number of seeds for the evaluation on the test set."""
MOST_ERRORS = 3
"""A worker ends after this many consecutive turns failed by our errors."""
ENDLESS = 1 << 30
"""Number of trials if only a budget ends a search."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A caller's request for a search, apart from the data and the recipe."""

    trials: int | None = None
    """Total of all workers; by default ``TRIALS``, or any number with a budget."""
    budget: Budget | None = None
    """Counted from the start of the first worker."""
    space: Path | Mapping[str, Any] | None = None
    """A file or a table; None for the default space."""
    storage: str | None = None
    """As in ``--storage``; by default an SQLite file in the search's folder."""
    name: str | None = None
    """By default from the recipe's and the data's names."""
    seeds: int = SEEDS
    out: Path | None = None
    """The search's folder; by default ``runs/tune-NAME``."""

    def __post_init__(self) -> None:
        for label, value, least in (("trials", self.trials, 1), ("seeds", self.seeds, 0)):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and least <= value <= 100_000):
                raise UserError(
                    f"--{label}: wanted a whole number from {least} to 100,000, got {shown(value)}"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The result of a search, final or so far."""

    folder: Path
    name: str
    storage: str
    space: Space
    recipe: Recipe
    """The recipe before the search."""
    held_out: int
    """Number of images that trials were judged on."""
    trials: "list[Result]"
    best: "Result"
    best_recipe: Recipe
    importances: dict[str, float]
    """By key, most important first; shares of 1."""
    test: "list[Result]"
    """One result for each seed of the chosen recipe. Empty if no test was requested."""
    readings: int
    """Number of recipes of this search that were evaluated on the test set, including this one."""

    @property
    def accuracies(self) -> list[float]:
        """Accuracies on the test set, by seed."""
        return [one.value for one in self.test if one.value is not None]

    @property
    def mean(self) -> float | None:
        """Mean of the accuracies."""
        return statistics.mean(self.accuracies) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracies, for at least two seeds."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


def tune(request: DataRequest, asked: Asked, search: Search, display: Display) -> Found:
    """Search, together with all workers of the same name, and return the result.

    Returns when every trial is settled and, if requested, the chosen recipe is evaluated. Raises
    ``UserError`` or ``DataError``, each saying what to do next.
    """
    imported("optuna", "tune", "'firstlight[tune]'")
    from firstlight.verbs.storage import quiet

    with quiet():
        worker = _begun(request, asked, search, display)
        try:
            worker.search()
            best = worker.chosen()
            test = worker.measure(best)
        except KeyboardInterrupt as error:
            raise RunInterruptedError(_GO_ON) from error
        except RunInterruptedError as error:
            raise RunInterruptedError(_GO_ON) from error
        return worker.found(best, test)


_GO_ON = "stopped; finished trials are kept. Run the same command to continue"


def _begun(request: DataRequest, asked: Asked, search: Search, display: Display) -> "_Worker":
    """Return this worker, after checking everything that can be wrong before its first trial."""
    from firstlight.verbs import sampling
    from firstlight.verbs.shared_work import SharedWork
    from firstlight.verbs.storage import address_of

    refuse_settings(asked.settings, ["train.validation"], "tune judges trials by held-out images")
    named = None if search.storage is None else address_of(search.storage)
    asked, job = _held_out(request, asked, display)
    recipe = job.recipe
    if recipe.train.epochs == 0:
        raise UserError(
            f"{recipe.name} only fits the last layer, so there is no training to tune. Give "
            "--set train.epochs=N"
        )
    space = _space(search.space, recipe, len(job.parts.rows_M), asked)
    name = search.name or f"{recipe.name}-{Path(request.name).stem or 'data'}"
    name = name if search.name or request.name not in recipe.name else recipe.name
    folder = search.out or Path("runs") / f"tune-{name}"
    address = named or address_of(str(folder / "search.db"))
    _check_folder(folder, name)
    taken = _trial_numbers(folder)
    work = SharedWork.joined(
        address,
        f"firstlight/{name}",
        sampling.distributions(space),
        sampling.BySlot(recipe.train.seed, own_values(space, recipe)),
        sampling.pruner(recipe.train.epochs),
    )
    _agree(work, name, job, space)
    if taken and max(taken) >= len(work.results()):
        raise UserError(
            f"{folder} holds trials of a search that is not in {address}. Name its storage, or "
            "choose another --out"
        )
    worker = _Worker(
        request=request,
        asked=asked,
        seeds=search.seeds,
        display=display,
        job=job,
        space=space,
        name=name,
        folder=folder,
        work=work,
    )
    worker.agree_on_end(search)
    return worker


def _held_out(request: DataRequest, asked: Asked, display: Display) -> tuple[Asked, Job]:
    """Return the request with images held out for judging, if the recipe holds out none."""
    job = plan(request, asked)
    watched = job.recipe.train.validation
    if watched == "held-out":
        job.parts  # noqa: B018 - says now where too few can be held out
        return asked, job
    asked = replace(asked, settings=[*asked.settings, Setting("train.validation=held-out", "tune")])
    job = plan(request, asked)
    validation = job.parts.validation
    assert validation is not None, "they are held out"
    what = "is watched by the test set" if watched == "test" else "holds no images out"
    display.say(
        f"{job.recipe.name} {what}. For the search, {len(validation):,} training images are held "
        "out to judge the trials; the recipe it finds holds them out too"
    )
    return asked, job


def _space(
    given: Path | Mapping[str, Any] | None, recipe: Recipe, images: int, asked: Asked
) -> Space:
    if given is None:
        return default_space(recipe, images, asked.settings)
    if isinstance(given, Mapping):
        return space_of(given, recipe, asked.settings)
    return read_space(given, recipe, asked.settings)


def _check_folder(folder: Path, name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]{0,150}", name):
        raise UserError(
            "a search is named with letters, digits, dots, dashes and underscores, because its "
            f"folder has the same name; got {shown(name)}. Give --name"
        )
    try:
        make_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    check_takes_files(folder, folder)


def _trial_numbers(folder: Path) -> list[int]:
    """Return the numbers of the trials that have folders there."""
    found = [re.fullmatch(r"trial-(\d+)", path.name) for path in folder.iterdir()]
    return [int(one[1]) for one in found if one]


def _agree(work: "SharedWork", name: str, job: Job, space: Space) -> None:
    """Raise ``UserError`` if the search with this name has other data, another recipe or another
    space."""
    train, test = job.data
    mine = read_json(
        write_json(
            {
                "data": {"train": train.fingerprint, "test": test.fingerprint},
                "recipe": job.recipe.to_table(),
                "space": as_table(space),
            }
        )
    )
    theirs = work.agreed("about", mine)
    if theirs == mine:
        return
    try:
        what = next(key for key in mine if theirs[key] != mine[key])
        if what == "recipe":
            one, other = (
                recipe_of(each["recipe"], source="").settings() for each in (theirs, mine)
            )
            keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
            what = f"recipe ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''})"
    except (LookupError, TypeError, StopIteration, UserError) as error:
        raise DataError(f"{work.address}: damaged: {error!r}. Choose another --storage") from error
    words = {"data": "other images", "space": "another search space"}
    raise UserError(
        f"the search {name} in {work.address} uses {words.get(what, f'another {what}')}. Give "
        "this one another --name, or another --storage"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Worker:
    """One of the workers that search together."""

    request: DataRequest
    asked: Asked
    seeds: int
    display: Display
    job: Job
    """The job of the original recipe."""
    space: Space
    name: str
    folder: Path
    work: "SharedWork"
    errors: list[Exception] = field(default_factory=list)

    def agree_on_end(self, search: Search) -> None:
        """Agree on the number of trials and the end: the most that any worker asked for."""
        work = self.work
        work.agreed("started", time.time())
        seconds = None if search.budget is None else search.budget.seconds
        trials = search.trials
        known = [work.noted(key) for key in ("trials", "budget")]
        if trials is None and seconds is None and known == [None, None]:
            trials = TRIALS
        for key, value, before in zip(("trials", "budget"), (trials, seconds), known, strict=True):
            if value is not None and (before is None or value > before):
                work.note(key, value)
            elif before is not None and value is not None and value < before:
                much = f"{before:,} trials" if key == "trials" else f"{before:g} s"
                self.display.say(f"This search keeps its earlier limit: {much}")

    def slots(self) -> int | None:
        """Return the total number of trials; None if no more are to begin."""
        trials, budget = self.work.noted("trials"), self.work.noted("budget")
        if budget is not None:
            results = self.work.results()
            seconds = [r.figures.get("seconds", 0.0) for r in results if r.state == "finished"]
            workers = max(1, sum(r.state == "running" for r in results))
            rounds = 1 + math.ceil(self.seeds / workers)
            end = self.work.noted("started") + budget
            if time.time() + rounds * max(seconds, default=0.0) > end:
                return None
        return ENDLESS if trials is None else int(trials)

    def search(self) -> None:
        """Run trials until all are settled."""
        self.work.do(self.slots, self._trial, partial(self._waits, "trials"))
        budget = self.work.noted("budget")
        over = budget is not None and time.time() > self.work.noted("started") + budget
        if over and len(self.work.results()) == 1:
            self.display.say(
                f"The budget of {budget:g} s ran out during the first trial, which was still "
                "trained to its end. Give more time for several trials, or give --trials N"
            )

    def _waits(self, what: str, count: int) -> None:
        self.display.say(f"waiting for {count} {what} from other workers")

    def chosen(self) -> "Result":
        """Return the best trial: by held-out accuracy, then by loss. Raises ``UserError`` if none
        was trained to its end."""
        results = self.work.results()
        finished = [one for one in results if one.value is not None]
        if not results and (budget := self.work.noted("budget")) is not None:
            raise UserError(
                f"the budget of {budget:g} s ran out before the first trial could start. Give "
                "more time, or --trials N"
            )
        if not finished:
            why = next((one.why for one in reversed(results) if one.why), "no trial was started")
            raise UserError(
                f"none of {len(results)} trials was trained to its end, so there is nothing to "
                f"choose. The last one failed with: {why}"
            )
        return max(finished, key=merit)

    def _trial(self, turn: "Turn") -> None:
        """Train with the turn's settings, and report the result on held-out images."""
        path, said = self.folder / f"trial-{turn.number:04}", list[EpochRecord]()
        started = time.perf_counter()

        def look(record: EpochRecord) -> str:
            said.append(record)
            right = record.validation_accuracy
            assert right is not None, "images are held out"
            if not self.work.report(turn, record.epoch, right):
                return ""
            return (
                f"after epoch {record.epoch} its best held-out accuracy was below the median of "
                "the other trials"
            )

        def figures(record: EpochRecord | None) -> dict[str, Any]:
            kept = {} if record is None else asdict(record)
            return {
                "accuracy": kept.get("validation_accuracy"),
                "loss": kept.get("validation_loss"),
                "epochs": len(said),
                "seconds": time.perf_counter() - started,
                "host": socket.gethostname(),
                "folder": str(path),
            }

        trial = Trial(
            search=self.name, number=turn.number, settings=plain_settings(turn.params), look=look
        )
        try:
            job = plan(self.request, self._asked_with(turn.params))
            run = fit(replace(job, trial=trial), self.display, out=path)
            kept = EpochRecord(**run.read_json("summary.json")["kept_epoch"])
        except PrunedError as error:
            self.work.write(turn, figures(said[-1]))
            self.work.stop(turn, str(error))
        except (DataError, RunInterruptedError):
            raise
        except UserError as error:  # for example, the loss is not finite
            self.work.write(turn, figures(said[-1] if said else None))
            self.work.stop(turn, str(error))
        except Exception as error:
            self._failed(turn, error)
        else:
            assert kept.validation_accuracy is not None, "images are held out"
            self.work.write(turn, figures(kept))
            self.work.finish(turn, kept.validation_accuracy)
            self.errors.clear()
        self._tell(turn)

    def _failed(self, turn: "Turn", error: Exception) -> None:
        """Leave the turn to another attempt. Raises the error if it keeps coming."""
        from firstlight.verbs.shared_work import LostTurnError

        if isinstance(error, LostTurnError):
            raise error
        self.errors.append(error)
        if len(self.errors) >= MOST_ERRORS:
            raise error
        self.work.fail(turn, f"{type(error).__name__}: {error}")

    def _tell(self, turn: "Turn") -> None:
        result = next(one for one in self.work.results() if one.number == turn.number)
        self.display.say(trial_line(result))

    def _asked_with(self, params: Mapping[str, Any], *more: str) -> Asked:
        texts = [f"{key}={v if isinstance(v, str) else toml_value(v)}" for key, v in params.items()]
        settings = [Setting(text, "tune") for text in texts]
        settings += [Setting(text, "tune", asked=False) for text in more]
        keys = [setting_key(text) for text in more]
        kept = [one for one in self.asked.settings if setting_key(one) not in keys]
        return replace(self.asked, settings=[*kept, *settings])

    def measure(self, best: "Result") -> "list[Result]":
        """Train the chosen recipe with several seeds, shared among workers, and evaluate each run
        on the test set."""
        from firstlight.verbs.shared_work import SharedWork

        if self.seeds == 0:
            return []
        read = self.work.agreed("read", [])
        if best.number not in read:
            self.work.note("read", [*read, best.number])
        work = SharedWork.joined(self.work.address, f"firstlight/{self.name}/chosen-{best.number}")
        if (work.noted("seeds") or 0) < self.seeds:
            work.note("seeds", self.seeds)
        work.do(
            lambda: int(work.noted("seeds")),
            partial(self._reading, work, best),
            partial(self._waits, "seeds"),
        )
        return [one for one in work.results() if one.state in ("finished", "stopped")]

    def _reading(self, work: "SharedWork", best: "Result", turn: "Turn") -> None:
        # Not the seed that the settings were chosen with.
        seed = (self.job.recipe.train.seed + 1 + turn.slot) % 2**31
        again = f"-{turn.attempt}" if turn.attempt > 1 else ""
        path = self.folder / f"chosen-{best.number:04}-seed-{seed}{again}"
        figures = {"seed": seed, "host": socket.gethostname(), "folder": str(path)}
        try:
            job = plan(self.request, self._asked_with(best.params, f"train.seed={seed}"))
            run = fit(job, self.display, out=path)
            metrics = evaluate(run, device=job.device, data=job.data)
        except (DataError, RunInterruptedError):
            raise
        except UserError as error:
            work.write(turn, figures)
            work.stop(turn, str(error))
            self.display.say(f"seed {seed}: {error}")
            return
        work.write(turn, {**figures, "correct": metrics.correct, "count": metrics.count})
        work.finish(turn, metrics.accuracy)
        self.display.say(f"seed {seed}: {100 * metrics.accuracy:.2f} % of the test images")

    def found(self, best: "Result", test: "list[Result]") -> Found:
        """Return the result, including the work of other workers."""
        validation = self.job.parts.validation
        assert validation is not None and best.value is not None, "images are held out"
        chosen = plan(self.request, self._asked_with(best.params)).recipe
        before, results = self.job.recipe, self.work.results()
        description = (
            f"{before.name} with settings that firstlight tune chose: trial {best.number} of "
            f"{len(results)}, {100 * best.value:.2f} % of {len(validation):,} held-out images"
        )
        return Found(
            folder=self.folder,
            name=self.name,
            storage=str(self.work.address),
            space=self.space,
            recipe=before,
            held_out=len(validation),
            trials=results,
            best=best,
            best_recipe=replace(chosen, name=f"{before.name[:90]}-tuned", description=description),
            importances=self.work.importances(),
            test=test,
            readings=len(self.work.noted("read") or []),
        )


def merit(one: "Result") -> tuple[float, float, int]:
    loss = one.figures.get("loss")
    return one.value or 0.0, -(math.inf if loss is None else loss), -one.number


def trial_line(one: "Result") -> str:
    """Format a finished trial as a line for people."""
    settings = "  ".join(f"{short(key)} {value_text(value)}" for key, value in one.params.items())
    seconds = one.figures.get("seconds")
    time_taken = "" if seconds is None else f" in {seconds:.1f} s"
    accuracy = one.figures.get("accuracy")
    reached = "" if accuracy is None else f"{100 * accuracy:.2f} %"
    if one.state == "finished":
        return f"trial {one.number}: {reached}{time_taken}  {settings}"
    if accuracy is not None and one.why.startswith("after epoch"):
        epochs = one.figures.get("epochs")
        return f"trial {one.number}: stopped at {reached}, epoch {epochs}{time_taken}  {settings}"
    return f"trial {one.number}: {one.state}: {one.why}  {settings}"


def short(key: str) -> str:
    """Shorten ``optimizer.learning_rate`` to ``learning_rate``; an augmentation keeps its
    number."""
    section, _, name = key.partition(".")
    return name if section in ("optimizer", "train", "schedule") else key


def value_text(value: Any) -> str:
    """Format a setting's value for a table, with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
