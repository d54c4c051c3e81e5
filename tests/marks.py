"""Pictures with several labels: columns, dots and rows."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import firstlight as fl

NAMES = ("column", "dot", "row")


def drawn(has: tuple[bool, ...], rng: np.random.Generator) -> np.ndarray:
    """A bright column, a grey dot and a bright row, where they are wanted."""
    image = rng.integers(0, 60, (28, 28), dtype=np.uint8)
    places = rng.integers(3, 22, 4)
    if has[0]:
        image[:, places[0] : places[0] + 2] = 250
    if has[1]:
        image[places[1] : places[1] + 5, places[2] : places[2] + 5] = 140
    if has[2]:
        image[places[3] : places[3] + 2] = 250
    return image


def pictures(folder: Path, count: int = 320, seed: int = 0) -> Path:
    """CSVs with the same labels: columns of 0 and 1, and lists."""
    rng = np.random.default_rng(seed)
    rows = []
    folder.mkdir()
    for at in range(count):
        has = tuple(bool(one) for one in rng.random(3) < 0.4)
        Image.fromarray(drawn(has, rng)).save(folder / f"{at}.png")
        rows.append((f"{at}.png", has))
    columns: list[list[Any]] = [["path", *NAMES], *([name, *map(int, has)] for name, has in rows)]
    lists = [["path", "labels"]]
    for name, has in rows:
        lists.append([name, ";".join(np.array(NAMES)[[*has]]) or "[]"])
    for file, lines in (("columns.csv", columns), ("lists.csv", lists)):
        with (folder / file).open("w", newline="") as out:
            csv.writer(out).writerows(lines)
    return folder


def marked(place: Path, **choices: Any) -> fl.Run:
    """A run, evaluated, on pictures that lie beside it, with a cache beside it too."""
    file = pictures(place / "set") / "columns.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        run = trained(file, place / "run", **choices)
        run.evaluate()
    return run


def trained(file: Path, out: Path, **choices: Any) -> fl.Run:
    with pytest.warns(UserWarning, match="pictures have 0 to 3 of 3 labels, on average"):
        return fl.train(file, out=out, quiet=True, **{"epochs": 8, **choices})
