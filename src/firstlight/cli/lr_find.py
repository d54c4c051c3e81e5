"""``firstlight lr-find``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import DataDir, Device, Json, print_json
from firstlight.errors import UserError


def lr_find(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set.", show_default=False)],
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME|FILE", help="DATA has its own.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one choice of the recipe."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of the sweep.")] = 200,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE.png", help="The plot; else lr-find-<recipe>.png."),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Find a learning rate: train briefly with a rising one, and draw the loss against it."""
    from firstlight.recipe import load_recipe
    from firstlight.verbs.fit import default_recipe
    from firstlight.verbs.lr_find import find_learning_rate
    from firstlight.verbs.run_data import DataRequest

    if steps < 20:
        raise UserError(f"--steps must be at least 20, not {steps}")
    request = DataRequest(name=data, data_dir=data_dir)
    request.check_name()
    chosen = load_recipe(recipe) if recipe else default_recipe(data, device)
    chosen = chosen.with_settings(settings or [])
    out = save or Path(f"lr-find-{chosen.name}.png")
    found = find_learning_rate(request, chosen, out, device=device, steps=steps)
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
    typer.echo(
        f"learning rate {suggestion:g} (the recipe has {chosen.optimizer.learning_rate:g}): the "
        f"loss falls fastest at {found.steepest:.2g} and is smallest at {found.lowest:.2g}\n"
        f"plot {out}\n"
        f"next: firstlight train {data} --recipe {recipe or chosen.name} "
        f"--set optimizer.learning_rate={suggestion:g}"
    )
