"""A recipe while it is being written: its layers as a list and as TOML, and what is wrong.

Both are the same recipe. The page changes either, and gets the other.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from firstlight.errors import UserError
from firstlight.layers import Dense, Flatten, Layer
from firstlight.layers.network import Network
from firstlight.layers.summary import Summary, summarize
from firstlight.recipe import Recipe, parse_recipe
from firstlight.toml_text import toml_text

SOURCE = "the recipe"
_LAYER = re.compile(r"layer (\d+(?:\.\d+)*)")
Inputs = tuple[tuple[int, int, int], int]
"""Height, width and channels of the images, and the number of classes."""


def written(toml: str, layers: Any, inputs: Inputs) -> dict[str, Any]:
    """Return a recipe as TOML and as a list of layers, with the shape that each layer gives.

    ``layers`` are tables as in a recipe; they replace those of ``toml``, if given. If something is
    wrong, ``error`` says what, ``at`` which layer it is, and the rows end before it. ``readable``
    is false if the returned TOML is no recipe; without ``layers``, they are None then.
    """
    try:
        recipe = parse_recipe(toml, source=SOURCE)
    except UserError as error:
        if layers is None:
            return _wrong(toml, None, error)
        raise
    if layers is not None:
        table = recipe.to_table()
        table["network"]["layers"] = layers
        text = ""
        try:
            text = toml_text(table)
            recipe = parse_recipe(text, source=SOURCE)
        except (UserError, TypeError, ValueError) as error:
            return _wrong(text or toml, layers, error)
        toml = recipe.to_toml()
    network = recipe.network
    told = {
        "toml": toml,
        "layers": network.to_table().get("layers"),
        "name": recipe.name,
        "readable": True,
    }
    try:
        summary = _summary(recipe, network, inputs)
    except UserError as error:
        return {**told, **_fault(error), **_before(recipe, _number(error), inputs)}
    return {**told, "error": "", "at": "", **_rows(summary.rows), "totals": summary.totals()}


def _wrong(toml: str, layers: Any, error: Exception) -> dict[str, Any]:
    nothing = {"readable": False, "rows": {}, "totals": []}
    return {"toml": toml, "layers": layers, **nothing, **_fault(error)}


def _fault(error: Exception) -> dict[str, Any]:
    text = str(error).removeprefix(f"{SOURCE}: ")
    found = _LAYER.search(text)
    return {"error": text, "at": found[1] if found else ""}


def _number(error: Exception) -> int:
    """Return how many whole layers come before the one that is wrong."""
    found = _LAYER.search(str(error))
    return int(found[1].partition(".")[0]) - 1 if found else 0


def _before(recipe: Recipe, count: int, inputs: Inputs) -> dict[str, Any]:
    """Return the rows of the first layers: with an end of their own they are a network."""
    first = recipe.network.layers[:count]
    ends: Sequence[tuple[Layer, ...]] = ((Flatten(), Dense("classes")), (Dense("classes"),))
    for end in ends if first else ():
        try:
            network = replace(recipe.network, layers=(*first, *end))
            rows = _summary(recipe, network, inputs).rows
        except UserError:
            continue
        own = [row for row in rows if int(row.number.partition(".")[0] or 0) <= count]
        return {**_rows(own), "totals": []}
    return {"rows": {}, "totals": []}


def _summary(recipe: Recipe, network: Network, inputs: Inputs) -> Summary:
    shape, classes = inputs
    train, moments = recipe.train, recipe.optimizer.moments
    return summarize(
        network,
        shape,
        classes,
        batch_size=train.micro_batch_size or train.batch_size,
        moments=moments + (train.average_decay > 0),
    )


def _rows(rows: Sequence[Any]) -> dict[str, Any]:
    """Return the rows by their numbers; of repeats the first."""
    found = dict[str, Any]()
    for row in rows:
        found.setdefault(row.number, asdict(row))
    found.pop("", None)
    return {"rows": found}
