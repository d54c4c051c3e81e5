"""List and clear the cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstlight.cache import CLEARED, MADE, OTHERS, Entry, entries, remove
from firstlight.checked import nearest
from firstlight.data.catalog import CATALOG
from firstlight.errors import DataError, UserError
from firstlight.files import cache_folder


def listed() -> list[dict[str, Any]]:
    """Return every existing shelf as plain values: name, content, bytes, last use."""
    return [
        {
            "name": name,
            "content": content,
            "bytes": sum(entry.size for entry in there),
            "used": max(entry.used for entry in there),
        }
        for name, content in _contents().items()
        if (there := entries(cache_folder() / name))
    ]


def clear(names: Sequence[str]) -> dict[str, Any]:
    """Remove these shelves, or all that can be made again from the data. Returns their names and
    the number of freed bytes.

    Raises ``UserError`` for an unknown name before removing anything, and ``DataError`` if
    something cannot be removed.
    """
    known = _contents()
    for name in names:
        if name not in known:
            raise UserError(
                f"nothing in the cache is called {name!r}; "
                f"{nearest(name, list(known), what='there are')}"
            )
    cleared, freed = list(dict.fromkeys(names or CLEARED)), 0
    for name in cleared:
        for entry in entries(cache_folder() / name):
            freed += _removed(entry)
    return {"cleared": cleared, "bytes": freed}


def _removed(entry: Entry) -> int:
    """Remove an entry and return its size in bytes."""
    remove(entry.path)
    left = [path for path in _traces(entry.path) if path.exists()]
    if left:
        raise DataError(
            f"{left[0]}: cannot be removed; another program may have it open, or it belongs to "
            "another user"
        )
    return entry.size


def _traces(path: Path) -> list[Path]:
    return [path, path.with_name(f".{path.name}.gone")]


def _contents() -> dict[str, str]:
    sets = {entry.shelf: f"the data set {entry.shelf}" for entry in CATALOG.values() if entry.files}
    return {**MADE, **OTHERS, **sets}
