"""Pictures of one's own: a pretrained network or one from scratch: the better is kept."""

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
"""As the start: no contest, and no pretrained network."""
SHARE_OF_BUDGET = 0.5
"""For the pretrained network; the other takes what is left."""
_MAY_BE_SET = ("train.seed",)
_Parts = tuple[Answered, ...]
"""Held-out parts, answered by one of the two."""


def train(
    request: DataRequest, asked: Asked, display: Display, out: Path | None = None
) -> RunFolder:
    """Train what is asked for. Where that is only the data, pictures of one's own, and a backbone
    is on this machine, it and a network from scratch are both trained, and the one that answers
    held-out pictures with the smaller log loss is in the folder that is returned; the other lies
    beside it.
    On the processes of a launcher one network is trained, by all of them.
    """
    if launched():
        if str(asked.start) == NONE:
            asked = replace(asked, start=None)
        return several.train(request, asked, display, out)
    if asked.start is not None and str(asked.start) == NONE:
        asked = replace(asked, start=None)
    elif _names_data_alone(request, asked) and not request.load().train.several:
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
    """Take up a stopped run, as ``fit.resume`` does. Where it is one of two that are to be
    compared, what is left of the other is trained too, and the better one is returned."""
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
    """A path that ends in the folder's own name, beside which the other run lies."""
    return path.resolve() if path.name in ("", "..") or path.is_symlink() else path


def _beside(folder: RunFolder, side: Side) -> RunFolder:
    """The other run. Raises ``UserError`` where it is not there, or another is in its place."""
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
    """Whether no network is asked for, and the data is pictures of one's own."""
    named = asked.recipe is not None or asked.parts or asked.start is not None
    return request.own is not None and not named


def _open_ended(asked: Asked) -> bool:
    """Whether nothing is asked for that only one of the two ways has."""
    return {setting_key(one) for one in asked.settings} <= set(_MAY_BE_SET)


def backbone_here() -> str:
    """The first backbone of the table whose weights are on this machine, or an empty text."""
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
    del job  # its pictures are larger than those of the network trained from scratch
    return _against(first, request, asked, display)


def _against(first: RunFolder, request: DataRequest, asked: Asked, display: Display) -> RunFolder:
    """Train a network from scratch too, and give the better of the two."""
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
    except UserError as error:  # as where the first took most of a budget
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
    """How the network from scratch can be trained again."""

    request: DataRequest
    device: str


def _compared(
    first: RunFolder, second: RunFolder, again: _Again | None, display: Display
) -> RunFolder:
    """The better of two finished runs. Where too few pictures are held out to tell, the network
    from scratch is also trained with other pictures held out, one part after another (k-fold
    cross-validation), until it is clear or all are judged."""
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
    """The one that answers held-out pictures with the smaller log loss, in the folder of the first.

    Few pictures tell little by how many are right: of 20, one more is 5 %. The log loss also counts
    how sure each answer is, after calibration.
    """
    path, lost = first.path, second.path
    number = min(map(len, parts))  # where fewer parts were enough for the second
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
    """How a network answers all held-out pictures that were looked at."""

    held_out: int
    """How many there are."""
    right: int
    log_loss: float
    """Calibrated."""


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
    """Write into a run's folder how the contest ended: what it has right, and what the other."""
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
    """How a run was compared with another, for programs; empty where it was not."""
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
    """A name beside the run's that nothing has."""
    for number in count(1):
        other = path.with_name(f"{path.name}-{way}{f'-{number}' if number > 1 else ''}")
        if not os.path.lexists(other):
            return other
    raise AssertionError("numbers do not end")


def _pretrained(name: str, asked: Asked) -> Asked:
    budget = asked.budget
    if budget is not None:
        budget = replace(budget, seconds=SHARE_OF_BUDGET * budget.seconds)
    # The seed is for the other network, where this one's last layer is fitted alone.
    settings = [
        one._replace(asked=False) if isinstance(one, Setting) else Setting(one, asked.source, False)
        for one in asked.settings
    ]
    return replace(asked, start=Path(name), budget=budget, settings=settings)
