"""Find recipes by name, from a file, or of a run."""

from importlib import resources
from pathlib import Path

from firstlight.backbones import is_backbone
from firstlight.checked import nearest
from firstlight.errors import UserError
from firstlight.recipe import Recipe, load_recipe, recipe_names
from firstlight.runs.box import boxed_names
from firstlight.runs.folder import open_run_folder


def find_recipe(where: str) -> Recipe:
    """Return a named recipe, or that of a TOML file, a run folder or a model in the box.

    Raises ``UserError`` if there is none, and ``DataError`` for a damaged run.
    """
    path = Path(where)
    if Path(where.partition(":")[0]).suffix == ".py":
        raise UserError(
            f"{where}: a network in Python is not a recipe and has no list of layers to show. "
            "Train it with: firstlight train DATA --network FILE.py:FUNCTION"
        )
    if names_run(where):
        return open_run_folder(path).recipe()
    if where in recipe_names() or _is_there(path):
        return load_recipe(where)
    if is_backbone(where):
        raise UserError(
            f"{where} is a pretrained backbone, not a recipe. See its layers with: firstlight "
            f"network {where}"
        )
    raise UserError(
        f"{where!r} is not a recipe, a file or a run folder; {nearest(where, recipe_names())}"
    )


def names_run(where: str) -> bool:
    """Whether it is a folder or names a model in the box, and is not a recipe."""
    path = Path(where)
    if where in recipe_names():
        return False
    return where in boxed_names() if not _is_there(path) else path.is_dir()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # folder not searchable, or name too long
        return False


def recipe_text(where: str) -> str:
    """Return TOML for ``train DATA --recipe FILE``: the file of a named recipe with its comments,
    or every setting of a file or a run."""
    recipe = find_recipe(where)
    if where in recipe_names():
        return (resources.files("firstlight.recipes") / f"{where}.toml").read_text(encoding="utf-8")
    return recipe.to_toml()
