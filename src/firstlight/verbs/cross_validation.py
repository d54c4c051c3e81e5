"""Train a network without some of the images, to predict those.

Axes: N images, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.split import folds, hold_out
from firstlight.devices import repeatable
from firstlight.recipe import Recipe
from firstlight.training.loop import Trainer
from firstlight.training.position import StepRecord
from firstlight.verbs.held_out import Answered, answered
from firstlight.verbs.job import Job
from firstlight.verbs.plan import plan_on


def train_apart(
    data: Dataset,
    held_N: npt.NDArray[np.bool_],
    recipe: Recipe,
    device: str,
    told: Callable[[float], None],
) -> tuple[Job, Trainer]:
    """Train on all images except those; they are the validation part if the recipe has one.

    ``told`` is called with the share of steps done. Nothing is written.
    """
    apart = replace(data, held_out_N=held_N)
    job = plan_on(TrainTest(apart, apart), recipe, device)
    with repeatable(job.threads, job.device):
        trainer = job.trainer()
        for event in trainer.run():
            if isinstance(event, StepRecord):
                told(trainer.seen / trainer.total)
    return job, trainer


def other_parts(
    data: Dataset, recipe: Recipe, count: int, device: str, told: Callable[[float], None]
) -> Iterator[Answered]:
    """Yield the other ``count`` parts of the images, one by one, each predicted by a network that
    was trained without it, in the format of ``held_out.answered_parts``."""
    kept_N, _ = hold_out(data, recipe.train.held_out_fraction)
    fold_N = folds(data, count, kept_N)
    for part in range(count):

        def told_of_all(share: float, before: int = part) -> None:
            told((before + share) / count)

        held_N = np.zeros(len(data), bool)
        held_N[kept_N[fold_N == part]] = True
        job, trainer = train_apart(data, held_N, recipe, device, told_of_all)
        with repeatable(job.threads, job.device):
            answers = trainer.validation_predictions()
        assert answers is not None, "there is a held-out part"
        logits_NK, labels = (one.cpu().numpy() for one in answers)
        yield answered((logits_NK, labels))
