"""Find a learning rate for a recipe on a data set, and draw how."""

from pathlib import Path

from firstlight.errors import UserError
from firstlight.files import write_asked
from firstlight.recipe import Recipe
from firstlight.report.charts import learning_rate_sweep
from firstlight.threads import usable_threads
from firstlight.training.devices import choose_device, repeatable
from firstlight.training.memory import kept_memory
from firstlight.training.sweep import Sweep, sweep
from firstlight.verbs.fit import prepare
from firstlight.verbs.run_data import DataRequest


def find_learning_rate(
    request: DataRequest, recipe: Recipe, out: Path, *, device: str = "auto", steps: int = 200
) -> Sweep:
    """Train fresh weights with a rising learning rate; ``out`` (PNG) shows the loss against it.

    No run folder is made, and no test image is looked at. Raises ``UserError`` where nothing is
    learnt or ``out`` cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise UserError(f"--save draws a PNG; its name must end in .png, unlike {out}")
    where = choose_device(device)
    # Enough epochs for all steps, and no early end.
    watch = "none" if recipe.train.validation == "test" else recipe.train.validation
    long = recipe.with_settings(
        [
            *("train.epochs=100000", "train.epoch_share=1.0", "train.patience=0"),
            f"train.validation={watch}",
        ]
    )
    with repeatable(usable_threads(), where):
        trainer = prepare(long, request.load(), where)
        with kept_memory():
            found = sweep(trainer, steps)
    picture = learning_rate_sweep(
        found.rates, found.losses, found.smoothed, found.suggestion, (found.steepest, found.lowest)
    )
    write_asked(out, picture.png())
    return found
