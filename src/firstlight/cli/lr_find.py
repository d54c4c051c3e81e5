"""``firstlight lr-find``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import (
    DataDir,
    DataName,
    Device,
    Json,
    NetworkCode,
    RecipeName,
    Settings,
    asked_for,
    print_json,
)
from firstlight.errors import UserError
from firstlight.untrusted import shell_line


def lr_find(
    data: DataName,
    recipe: RecipeName = None,
    settings: Settings = None,
    network: NetworkCode = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of the sweep.")] = 200,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FILE.png", help="The plot; by default lr-find-<recipe>.png."
        ),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Find a learning rate: a short training with a rising one, and a plot of the loss."""
    from firstlight.recipe import recipe_names
    from firstlight.verbs.lr_find import find_learning_rate
    from firstlight.verbs.plan import plan
    from firstlight.verbs.run_data import DataRequest

    if steps < 20:
        raise UserError(f"--steps must be at least 20, not {steps}")
    request = DataRequest(name=data, data_dir=data_dir, quiet=json)
    job = plan(request, asked_for(request, recipe, settings, device, network))
    out = save or Path(f"lr-find-{job.recipe.name}.png")
    found = find_learning_rate(job, out, steps=steps)
    suggestion = float(f"{found.suggestion:.1e}")
    if json:
        values = {
            "suggestion": suggestion,
            "steepest": found.steepest,
            "lowest": found.lowest,
            "plot": str(out),
        }
        curves = {"rates": found.rates, "losses": found.losses, "smoothed": found.smoothed}
        print_json(values | curves)
        return
    words = ["firstlight", "train", data]
    if recipe or job.recipe.name in recipe_names():
        words += ["--recipe", recipe or job.recipe.name]
    if network is not None:
        words += ["--network", network]
    for setting in (*(settings or []), f"optimizer.learning_rate={suggestion:g}"):
        words += ["--set", setting]
    typer.echo(
        f"learning rate {suggestion:g} (the recipe has {job.recipe.optimizer.learning_rate:g}): "
        f"the loss falls fastest at {found.steepest:.2g} and is smallest at {found.lowest:.2g}\n"
        f"plot {out}\n"
        f"next: {shell_line(words)}"
    )
