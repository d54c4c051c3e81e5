"""For the user's own pictures, train a pretrained network and one from scratch, and keep the
better."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from firstlight.backbones import BACKBONES
from firstlight.data.shards.files import names_shards
from firstlight.errors import RunInterruptedError, UserError
from firstlight.evaluate.calibrate import MANY_IMAGES
from firstlight.progress import CountingBar, Display
from firstlight.recipe import Setting, setting_key
from firstlight.runs.folder import CONTEST_FILE, RunFolder, open_run_folder
from firstlight.training.processes import launched
from firstlight.untrusted import shell_word
from firstlight.verbs import several
from firstlight.verbs.choose import looks_drawn, recipe_for
from firstlight.verbs.cross_validation import other_parts
from firstlight.verbs.fit import AS_IT_WAS, AskedAgain, fit, side_of
from firstlight.verbs.fit import resume as take_up
from firstlight.verbs.held_out import Answered, is_clear
from firstlight.verbs.job import Side
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest, request_of_run

NONE = "none"
"""Value of ``start`` for no contest and no pretrained network."""
SHARE_OF_BUDGET = 0.5
"""Share for the pretrained network; the other gets the rest."""
_MAY_BE_SET = ("train.seed",)
_Parts = tuple[Answered, ...]
"""Held-out parts with the answers of one of the two networks."""


def train(
    request: DataRequest, asked: Asked, display: Display, out: Path | None = None
) -> RunFolder:
    """Train what is asked for.

    If the request names only the user's own pictures, and a backbone is on this machine, train both
    the backbone and a network from scratch. The one with the lower log loss on held-out pictures is
    in the returned folder; the other is beside it. With a launcher's processes, all of them train
    one network.
    """
    if launched():
        if str(asked.start) == NONE:
            asked = replace(asked, start=None)
        return several.train(request, asked, display, out)
    if asked.start is not None and str(asked.start) == NONE:
        asked = replace(asked, start=None)
    elif _names_data_alone(request, asked):
        name = backbone_here()
        many = names_shards(request.name) and request.load().train.shards is not None
        if name and many:
            display.say(
                "This network is trained from scratch: there are too many images to hold a "
                f"backbone's features of all of them in memory. To use one anyway: --from {name}"
            )
        elif name and _open_ended(asked):
            return _contest(name, request, asked, display, out)
        elif name:
            display.say(
                "This network is trained from scratch, because you set options of its training. "
                f"For the pretrained one: --from {name}"
            )
        elif not looks_drawn(request.load().train):
            display.say(
                "A pretrained network is often more accurate. Get one with firstlight backbones "
                f"fetch {next(iter(BACKBONES))}, then train again"
            )
    job = plan(request, asked)
    if request.own is not None and asked.recipe is None:
        display.say(job.recipe.description)
    return fit(job, display, out=out)


def resume(path: Path, display: Display, again: AskedAgain = AS_IT_WAS) -> RunFolder:
    """Resume a stopped run, as ``fit.resume`` does. If it is one of two in a contest, also finish
    the other, and return the better one."""
    if launched():
        return several.resume(path, display, again)
    folder = open_run_folder(path, again.code)
    side = side_of(folder)
    if side is None or side.held_out is not None:
        return take_up(path, display, again)
    folder = RunFolder(_own_place(folder.path))
    first, second = folder, None
    if not side.start:
        first, second = _beside(folder, side), folder
    elif side.other:
        second = _beside(folder, side)
    for one in (first, second):
        if one is not None and not one.finished:
            take_up(one.path, display, again)
    environment = first.read_json("environment.json")
    with first.trusted():
        where = again.device or str(environment["device"])
    request = request_of_run(second or first, again.data_dir, again.data)
    if second is not None:
        return _compared(first, second, _Again(request=request, device=where), display)
    request, side = replace(request, shape=None, size=side.size), _side(first)
    seed = f"train.seed={first.recipe().train.seed}"
    return _against(first, request, Asked(settings=[seed], device=where), display)


def _own_place(path: Path) -> Path:
    """Return a path that ends in the folder's own name, so that the other run is beside it."""
    return path.resolve() if path.name in ("", "..") or path.is_symlink() else path


def _beside(folder: RunFolder, side: Side) -> RunFolder:
    """Return the other run. Raises ``UserError`` if it is missing, or another run is in its
    place."""
    other = folder.path.with_name(side.other)
    found = side_of(RunFolder(other)) if (other / "recipe.toml").is_file() else None
    if found is None or bool(found.start) == bool(side.start) or found.other != folder.path.name:
        raise UserError(
            f"{folder} was to be compared with {other}, but that run is missing or was replaced. "
            f"Put it back; or delete {folder.path / CONTEST_FILE} to make {folder} a run of its "
            "own"
        )
    return RunFolder(other)


def _names_data_alone(request: DataRequest, asked: Asked) -> bool:
    """Whether the request names only the user's own pictures, and no network."""
    named = asked.recipe is not None or asked.parts or asked.start is not None
    return request.own is not None and not named


def _open_ended(asked: Asked) -> bool:
    """Whether the request fits both networks."""
    return {setting_key(one) for one in asked.settings} <= set(_MAY_BE_SET)


def backbone_here() -> str:
    """Return the first backbone of the table whose weights are on this machine, or an empty
    text."""
    from firstlight.backbones.places import is_here

    return next((name for name in BACKBONES if is_here(name)), "")


def _contest(
    name: str, request: DataRequest, asked: Asked, display: Display, out: Path | None
) -> RunFolder:
    job = plan(request, _pretrained(name, asked))
    display.say(job.recipe.description)
    if job.parts.validation is None:
        folder = fit(job, display, out=out)
        display.say("There are also too few to compare it with a network trained from scratch.")
        return folder
    first = fit(replace(job, side=Side(start=name, size=request.size)), display, out=out)
    del job  # its pictures are larger than those for the network from scratch
    return _against(first, request, asked, display)


def _against(first: RunFolder, request: DataRequest, asked: Asked, display: Display) -> RunFolder:
    """Also train a network from scratch, and return the better of the two."""
    first = RunFolder(_own_place(first.path))
    with _interrupted(first):  # between two trainings
        return _second(first, request, asked, display)


@contextmanager
def _interrupted(first: RunFolder) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        again = shell_word(first)
        raise RunInterruptedError(
            f"stopped. Continue with: firstlight train --resume {again}"
        ) from error


def _second(first: RunFolder, request: DataRequest, asked: Asked, display: Display) -> RunFolder:
    side = _side(first)
    try:
        job = plan(request, replace(asked, recipe=recipe_for(request.load().train), told=None))
    except UserError as error:  # for example, the first took most of a budget
        display.say(f"No network was trained from scratch: {error}")
        return first
    display.say(job.recipe.description)
    other = _free(first.path, "from-scratch")
    first.write_json(CONTEST_FILE, asdict(replace(side, other=other.name)))
    (part, *_) = side.parts
    wrong = len(part.losses) - part.right
    job = replace(
        job, side=Side(start="", size=side.size, other=first.path.name, other_wrong=wrong)
    )
    again = None if asked.budget else _Again(request=job.request, device=job.device)
    return _compared(first, fit(job, display, out=other), again, display)


@dataclass(frozen=True, kw_only=True)
class _Again:
    """How to train the network from scratch again."""

    request: DataRequest
    device: str


def _compared(
    first: RunFolder, second: RunFolder, again: _Again | None, display: Display
) -> RunFolder:
    """Return the better of two finished runs.

    If too few pictures are held out, also train the network from scratch with other parts held out
    (k-fold cross-validation), until the result is clear or every picture was used.
    """
    judged = _parts(first), _parts(second)
    with _interrupted(first):
        few = len(judged[0]) > 1 and len(judged[0][0].losses) < MANY_IMAGES
        if again is not None and few and not is_clear(*judged):
            judged = judged[0], _more(second, *judged, again, display)
    return _better(first, second, judged, display)


def _more(
    second: RunFolder, firsts: _Parts, seconds: _Parts, again: _Again, display: Display
) -> _Parts:
    display.say(
        f"{len(seconds[0].losses):,} held-out pictures are too few to tell which is better. The "
        "network is trained from scratch again with other pictures held out"
    )
    train, found = again.request.load().train, [*seconds]
    with CountingBar("judging by", quiet=again.request.quiet) as bar:

        def told(share: float) -> None:
            bar(round(share * len(train)), len(train))

        for part in other_parts(train, second.recipe(), len(firsts) - 1, again.device, told):
            found.append(part)
            if is_clear(firsts, tuple(found)):
                break
    return tuple(found)


def _better(
    first: RunFolder, second: RunFolder, parts: tuple[_Parts, _Parts], display: Display
) -> RunFolder:
    """Return the run with the lower log loss on held-out pictures, in the folder of the first.

    With few pictures, accuracy is too coarse: of 20, one more is 5 %. The log loss also counts how
    confident each answer is, after calibration.
    """
    path, lost = first.path, second.path
    number = min(map(len, parts))  # fewer parts were enough for the second
    judged = [_together(some[:number]) for some in parts]
    name = _side(first).start
    swapped = judged[1].log_loss < judged[0].log_loss
    if swapped:
        lost = _free(path, name)
        path.rename(lost)
        second.path.rename(path)
        first, second = RunFolder(lost), RunFolder(path)
    _note(first, judged, path if swapped else lost)
    _note(second, judged[::-1], lost if swapped else path)
    of_first, of_second = (f"{one.right:,} right, log loss {one.log_loss:.3g}" for one in judged)
    display.say(
        f"On {judged[0].held_out:,} held-out pictures, {name} gets {of_first}; a network trained "
        f"from scratch gets {of_second}. The smaller log loss decides. The better run is in "
        f"{path}, the other in {lost}"
    )
    return RunFolder(path)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A network's answers to all held-out pictures that were used."""

    held_out: int
    """Number of pictures."""
    right: int
    log_loss: float
    """Log loss after calibration."""


def _together(parts: _Parts) -> _Judged:
    losses = [loss for part in parts for loss in part.losses]
    return _Judged(
        held_out=len(losses),
        right=sum(part.right for part in parts),
        log_loss=float(np.mean(losses)),
    )


def _parts(folder: RunFolder) -> _Parts:
    with folder.trusted():
        parts = _side(folder).parts
        if not parts or not parts[0].losses:
            raise ValueError(f"{CONTEST_FILE} does not hold the results on held-out pictures")
        return parts


def _note(folder: RunFolder, judged: Sequence[_Judged], other: Path) -> None:
    """Record the result of the contest in a run's folder: its correct answers, and the other's."""
    own, others = judged
    side = replace(
        _side(folder),
        other=other.name,
        held_out=own.held_out,
        right=own.right,
        other_right=others.right,
        log_loss=own.log_loss,
        other_log_loss=others.log_loss,
    )
    folder.write_json(CONTEST_FILE, asdict(side))


def contest_of(folder: RunFolder) -> dict[str, Any]:
    """Return the result of a run's contest, for programs; empty if there was none."""
    side = side_of(folder)
    if side is None or side.held_out is None:
        return {}
    return {
        "compared_with": {
            "run": str(folder.path.with_name(side.other)),
            "held_out": side.held_out,
            "right": side.right,
            "other_right": side.other_right,
            "log_loss": side.log_loss,
            "other_log_loss": side.other_log_loss,
        }
    }


def _side(folder: RunFolder) -> Side:
    side = side_of(folder)
    assert side is not None, "it is one of two"
    return side


def _free(path: Path, way: str) -> Path:
    """Return an unused name beside the run's."""
    for number in count(1):
        other = path.with_name(f"{path.name}-{way}{f'-{number}' if number > 1 else ''}")
        if not os.path.lexists(other):
            return other
    raise AssertionError("numbers do not end")


def _pretrained(name: str, asked: Asked) -> Asked:
    budget = asked.budget
    if budget is not None:
        budget = replace(budget, seconds=SHARE_OF_BUDGET * budget.seconds)
    # The seed matters only to the other network, because here only the last layer is fitted.
    settings = [
        one._replace(asked=False) if isinstance(one, Setting) else Setting(one, asked.source, False)
        for one in asked.settings
    ]
    return replace(asked, start=Path(name), budget=budget, settings=settings)
