"""Hash the first steps of every named recipe, to check that a change leaves training as it is.

    python benchmarks/first_steps.py --steps 30 > after.json
    python benchmarks/first_steps.py --steps 30 --compare before.json

The hashes cover the trained numbers in the order of the layers, the losses, and the answers to the
first test images. They are valid for one kind of processor, one version of PyTorch and one number
of threads, which are recorded with them.
"""

import argparse
import hashlib
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from firstlight.data.catalog import CATALOG
from firstlight.devices import repeatable
from firstlight.recipe import recipe_names
from firstlight.runs.record import environment
from firstlight.threads import usable_threads
from firstlight.training.position import StepRecord
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--recipes", nargs="*", default=recipe_names())
    parser.add_argument("--compare", type=Path, help="an earlier result: say what differs")
    arguments = parser.parse_args()
    found = {name: first_steps(name, arguments.steps) for name in arguments.recipes}
    result = {
        "steps": arguments.steps,
        "environment": environment("cpu", usable_threads()),
        "recipes": found,
    }
    if arguments.compare is None:
        print(json.dumps(result, indent=2))
        return 0
    before = json.loads(arguments.compare.read_text())["recipes"]
    different = [name for name in found if found[name] != before.get(name)]
    for name in found:
        print(f"{name}: {'DIFFERENT' if name in different else 'the same bits'}")
    return 1 if different else 0


def first_steps(name: str, steps: int) -> dict[str, Any]:
    """Return hashes of a recipe after ``steps`` steps on the data set in its name."""
    set_name = next(one for one in CATALOG if name.startswith(f"{one}-"))
    job = plan(DataRequest(name=set_name), Asked(recipe=name, device="cpu"))
    with repeatable(job.threads, "cpu"):
        trainer = job.trainer()
        records = (event for event in trainer.run() if isinstance(event, StepRecord))
        losses = [record.loss for record in islice(records, steps)]
        model = trainer.answering.eval()
        with torch.no_grad():
            images = torch.from_numpy(np.ascontiguousarray(job.data.test.images_NHWC[:50]))
            logits_NK = model(trainer.preprocess(images))
        numbers = [*trainer.model.parameters(), *trainer.model.buffers()]
    return {
        "weights": _hash(*(n.detach().contiguous().numpy() for n in numbers)),
        "losses": _hash(np.array(losses)),
        "answers": _hash(logits_NK.contiguous().numpy()),
        "last_loss": losses[-1],
    }


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
