"""Find a learning rate for a recipe on a data set, and draw how."""

from pathlib import Path

from firstlight.devices import repeatable
from firstlight.errors import UserError
from firstlight.files import write_asked
from firstlight.report.charts import learning_rate_sweep
from firstlight.training.memory import kept_memory
from firstlight.training.sweep import Sweep, sweep
from firstlight.verbs.job import Job
from firstlight.verbs.plan import changed


def find_learning_rate(job: Job, out: Path, *, steps: int = 200) -> Sweep:
    """Train fresh weights with a rising learning rate; ``out`` (PNG) shows the loss against it.

    No run folder is made, and no test image is looked at. Raises ``UserError`` where nothing is
    learnt or ``out`` cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise UserError(f"--save draws a PNG; its name must end in .png, unlike {out}")
    # Enough epochs for all steps, and no early end.
    watched = job.recipe.train.validation
    long = changed(
        job,
        [
            *("train.epochs=100000", "train.epoch_share=1.0", "train.patience=0"),
            f"train.validation={'none' if watched == 'test' else watched}",
        ],
    )
    with repeatable(long.threads, long.device):
        trainer = long.trainer()
        with kept_memory():
            found = sweep(trainer, steps)
    picture = learning_rate_sweep(
        found.rates, found.losses, found.smoothed, found.suggestion, (found.steepest, found.lowest)
    )
    write_asked(out, picture.png())
    return found
