"""How long an epoch takes here: ``python -m firstlight.studio.pace DATA < recipe.toml``.

A process of its own: it needs all threads for a moment, and the server goes on.
"""

import sys

from firstlight.devices import repeatable
from firstlight.errors import UserError
from firstlight.plain import write_json
from firstlight.recipe import parse_recipe
from firstlight.training.memory import kept_memory
from firstlight.training.pace import measure_pace, rest_of
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest

MEASURED = 20.0
"""Seconds of a budget of which a small share is measured."""


def seconds_per_epoch(data: str, toml: str) -> float:
    """Train some steps and return the seconds of an epoch, with its validation. Raises
    ``UserError``."""
    request = DataRequest(name=data, download=False, quiet=True)
    job = plan(request, Asked(recipe=parse_recipe(toml, source="the recipe")))
    with repeatable(job.threads, job.device):
        trainer = job.trainer()
        rest = rest_of(trainer)
        with kept_memory():
            pace = measure_pace(trainer, MEASURED)
    return rest.seconds(min(trainer.steps_per_epoch, trainer.steps), pace)


if __name__ == "__main__":
    told: dict[str, float | str]
    try:
        told = {"seconds": seconds_per_epoch(sys.argv[1], sys.stdin.read())}
    except UserError as error:
        told = {"error": str(error)}
    sys.stdout.write(write_json(told))
