"""Find a learning rate for a recipe on a data set, and plot the result."""

from pathlib import Path

from firstlight.devices import repeatable
from firstlight.errors import UserError
from firstlight.files import write_asked
from firstlight.progress import CountingBar
from firstlight.report.charts import learning_rate_sweep
from firstlight.training.memory import kept_memory
from firstlight.training.sweep import Sweep, sweep
from firstlight.verbs.choose import tuning_epochs
from firstlight.verbs.job import Job
from firstlight.verbs.plan import changed


def find_learning_rate(job: Job, out: Path, *, steps: int = 200) -> Sweep:
    """Train random weights with an increasing learning rate; ``out`` (PNG) plots the loss against
    it.

    No run folder is made, and no test image is used. Raises ``UserError`` if nothing is learned, if
    the recipe has no epochs, or if ``out`` is not writable.
    """
    if out.suffix.lower() != ".png":
        raise UserError(f"--save draws a PNG: wanted a name that ends in .png, got {out}")
    choice = job.recipe.train
    if choice.epochs == 0:
        usual = tuning_epochs(len(job.data.train))
        raise UserError(
            "train.epochs is 0: only the last layer is fitted, which takes no learning rate. To "
            f"find one for fine-tuning, add --set train.epochs={usual:g} here and to the "
            "training"
        )
    # Enough epochs for all steps, without early stopping.
    watched = choice.validation
    long = changed(
        job,
        [
            *("train.epochs=100000", "train.epoch_share=1.0", "train.patience=0"),
            f"train.validation={'none' if watched == 'test' else watched}",
        ],
    )
    with repeatable(long.threads, long.device):
        trainer = long.trainer()
        with kept_memory(), CountingBar("sweep of", "steps", quiet=job.request.quiet) as bar:
            found = sweep(trainer, steps, bar)
    picture = learning_rate_sweep(
        found.rates, found.losses, found.smoothed, found.suggestion, (found.steepest, found.lowest)
    )
    write_asked(out, picture.png())
    return found
