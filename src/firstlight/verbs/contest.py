"""Pictures of one's own: a pretrained network against one from nothing, and the better is kept."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from firstlight.backbones import BACKBONES
from firstlight.errors import RunInterruptedError, UserError
from firstlight.progress import Display
from firstlight.recipe import setting_key
from firstlight.runs.folder import RunFolder
from firstlight.verbs.choose import looks_drawn, recipe_for
from firstlight.verbs.fit import fit
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest

NONE = "none"
"""As the start: no contest, and no pretrained network."""
SHARE_OF_PASSES = 0.5
"""Of those that a network from nothing gets alone."""
SHARE_OF_BUDGET = 0.5
"""For the pretrained network; the other takes what is left."""
_MAY_BE_SET = ("train.seed",)


def train(
    request: DataRequest, asked: Asked, display: Display, out: Path | None = None
) -> RunFolder:
    """Train what is asked for. Where that is only the data, pictures of one's own, and a backbone
    is on this machine, it and a network from nothing are both trained, and the one that answers
    more held-out pictures right is in the folder that is returned; the other lies beside it.
    """
    if asked.start is not None and str(asked.start) == NONE:
        asked = replace(asked, start=None)
    elif _names_data_alone(request, asked):
        name = backbone_here()
        if name and _open_ended(asked):
            return _contest(name, request, asked, display, out)
        if name:
            display.say(
                "This network is trained from nothing, as choices of its training are given. The "
                f"pretrained one is --from {name}"
            )
        elif not looks_drawn(request.load().train):
            display.say(
                "A network that was pretrained on other pictures often answers better. Get one "
                f"with firstlight backbones fetch {next(iter(BACKBONES))}, then train again"
            )
    job = plan(request, asked)
    if request.own is not None and asked.recipe is None:
        display.say(job.recipe.description)
    return fit(job, display, out=out)


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
    with _interrupted("Then train again with --from none, and compare: firstlight runs A B"):
        first = fit(job, display, out=out)
    path = first.path
    if job.parts.validation is None:
        display.say("They are too few, too, to compare it with a network from nothing.")
        return first
    try:
        job = plan(request, _from_nothing(request, asked))
    except UserError as error:  # as where the first took most of a budget
        display.say(f"No network from nothing was trained: {error}")
        return first
    display.say(job.recipe.description)
    lost = _free(path, "from-nothing")
    with _interrupted(f"{name} is kept in {path}; compare then: firstlight runs {path} {lost}"):
        second = fit(job, display, out=lost)
    watched = len(job.parts.validation or ())
    of_first, of_second = (_held_out(one) for one in (first, second))
    if of_second > of_first:
        lost = path.rename(_free(path, name))
        second.path.rename(path)
    told = (
        f"{name} answers {_right(of_first, watched)} held-out pictures right, a network from "
        f"nothing {_right(of_second, watched)}"
    )
    if of_first[0] == of_second[0]:
        told += ", and the smaller loss decides"
    display.say(f"{told}. The better one is kept in {path}, the other in {lost}")
    return RunFolder(path)


@contextmanager
def _interrupted(then: str) -> Iterator[None]:
    """What is to be done after a run that is taken up, as that knows of no contest."""
    try:
        yield
    except RunInterruptedError as error:
        raise RunInterruptedError(f"{error}\n{then}") from error


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
    return replace(asked, start=Path(name), budget=budget)


def _from_nothing(request: DataRequest, asked: Asked) -> Asked:
    recipe = recipe_for(request.load().train)
    epochs = max(1.0, round(SHARE_OF_PASSES * recipe.train.epochs))
    shorter = recipe.with_settings([f"train.epochs={epochs}"])
    return replace(asked, recipe=shorter, told=None)


def _held_out(folder: RunFolder) -> tuple[float, float]:
    """Accuracy and, for equal ones, the smaller loss first."""
    kept = folder.read_json("summary.json")["kept_epoch"]
    return float(kept["validation_accuracy"]), -float(kept["validation_loss"])


def _right(found: tuple[float, float], watched: int) -> str:
    return f"{round(found[0] * watched):,} of {watched:,} ({100 * found[0]:.1f} %)"
