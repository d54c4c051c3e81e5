"""The files of a search: the best recipe, all trials, and a figure."""

from pathlib import Path
from typing import Any

from firstlight.files import write_asked
from firstlight.plain import write_json
from firstlight.untrusted import cell, csv_text, json_safe
from firstlight.verbs.search_space import as_table, plain_settings
from firstlight.verbs.shared_work import Result
from firstlight.verbs.tune import Found, merit


def write_found(found: Found) -> Path:
    """Write the files, and return the path of the best recipe.

    All workers write the same files, each into its own folder. Raises ``UserError`` or
    ``DataError`` if they cannot be written.
    """
    best = found.folder / "best.toml"
    write_asked(
        found.folder / "search.json", json_safe(write_json(as_json(found), indent=2)) + "\n"
    )
    write_asked(found.folder / "trials.csv", _csv(found))
    write_asked(found.folder / "search.png", _picture(found))
    write_asked(best, found.best_recipe.to_toml())
    return best


def best_first(found: Found) -> list[Result]:
    """Return the trials that were trained to their end, best first."""
    finished = [one for one in found.trials if one.value is not None]
    return sorted(finished, key=merit, reverse=True)


def as_json(found: Found) -> dict[str, Any]:
    """Return everything, for programs."""
    return {
        "search": found.name,
        "folder": str(found.folder),
        "storage": found.storage,
        "recipe": found.recipe.to_table(),
        "space": as_table(found.space),
        "held_out": found.held_out,
        "best": _plain(found.best),
        "best_recipe": str(found.folder / "best.toml"),
        "importances": found.importances,
        "test": {
            "n": len(found.accuracies),
            "accuracy_mean": found.mean,
            "accuracy_sd": found.deviation,
            "seeds": [_plain(one) for one in found.test],
            "recipes_read": found.readings,
        },
        "trials": [_plain(one) for one in found.trials],
    }


def _plain(one: Result) -> dict[str, Any]:
    return {
        "number": one.number,
        "slot": one.slot,
        "state": one.state,
        "value": one.value,
        "settings": plain_settings(one.params),
        **one.figures,
        "why": one.why,
    }


def _csv(found: Found) -> str:
    known = ("accuracy", "loss", "epochs", "seconds", "host", "folder")
    keys = [one.key for one in found.space]
    rows = [["trial", "state", *known, *keys, "why"]]
    for one in found.trials:
        figures = ["" if (v := one.figures.get(key)) is None else str(v) for key in known]
        settings = [str(one.params.get(key, "")) for key in keys]
        rows.append([str(one.number), one.state, *map(cell, [*figures, *settings, one.why])])
    return csv_text(rows)


def _picture(found: Found) -> bytes:
    from firstlight.report.charts import Tried, search

    tried = [
        Tried(number=one.number, accuracy=one.figures["accuracy"], finished=one.value is not None)
        for one in found.trials
        if one.figures.get("accuracy") is not None
    ]
    return search(tried, found.importances).png()
