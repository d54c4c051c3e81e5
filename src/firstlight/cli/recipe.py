"""``firstlight recipe``: list, show and compare recipes."""

from typing import Annotated

import typer

from firstlight.cli.help import Verbs
from firstlight.cli.options import Column, Json, print_exact, print_json, print_table, recipe_or_run

app = Verbs(help="Named recipes and recipe files: list, show, compare.")
Where = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE|RUN",
        help="A named recipe, a recipe file (TOML), or a run folder.",
        show_default=False,
        callback=recipe_or_run,
    ),
]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the named recipes."""
    from firstlight.recipe import load_recipe, recipe_names

    recipes = [load_recipe(name) for name in recipe_names()]
    if json:
        print_json([{"name": one.name, "description": one.description} for one in recipes])
        return
    columns = [Column("recipe", whole=True), Column("epochs", right=True), Column("what it does")]
    print_table(columns, [[r.name, f"{r.train.epochs:g}", r.description] for r in recipes])
    typer.echo("\nsee one: firstlight recipe show NAME")


@app.command("show")
def show(recipe: Where, json: Json = False) -> None:
    """Print a recipe as TOML. Save it with > mine.toml, change it, and train with --recipe."""
    from firstlight.verbs.recipes import find_recipe, recipe_text

    if json:
        print_json(find_recipe(recipe).to_table())
    else:
        print_exact(recipe_text(recipe))


@app.command("compare")
def compare(first: Where, second: Where, json: Json = False) -> None:
    """Show what two recipes differ in, choice by choice and layer by layer."""
    from firstlight.differences import differences
    from firstlight.verbs.recipes import find_recipe

    found = differences([find_recipe(first), find_recipe(second)])
    if json:
        print_json([{"choice": one.choice, "values": one.values} for one in found])
    elif found:
        columns = [Column("choice", whole=True), Column(first), Column(second)]
        print_table(columns, [[one.choice, *one.short] for one in found])
    else:
        typer.echo("the two recipes have the same settings")
