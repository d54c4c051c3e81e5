"""The data that can be chosen: named sets on this machine, and pictures in the working folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstlight.data.catalog import CATALOG
from firstlight.data.folder import list_folder
from firstlight.data.load import where_found
from firstlight.errors import UserError
from firstlight.studio.workshop import Workshop

Stamp = tuple[tuple[str, int, int], ...]
_known = dict[Path, tuple[Stamp, dict[str, Any] | None]]()
"""What was found in each folder, and its stamp then."""
MOST_FOLDERS = 200
"""Most folders of the working folder that are looked at."""


def available(workshop: Workshop, data_dir: Path | None) -> list[dict[str, Any]]:
    """Return what each set is called, and what is known about it without reading its images."""
    return [*_own(workshop), *_named(data_dir)]


def own_word(folder: Path, root: Path) -> str:
    """Return what a folder of pictures in the working folder is called: a path that is not taken
    for a named set."""
    word = folder.relative_to(root).as_posix()
    return f"./{word}" if word in CATALOG else word


def _named(data_dir: Path | None) -> Iterator[dict[str, Any]]:
    for entry in CATALOG.values():
        yield {
            "word": entry.name,
            "title": entry.title,
            "named": True,
            "here": where_found(entry, data_dir) is not None,
            "classes": list(entry.class_names),
            "images": entry.train_count + entry.test_count,
            "shape": list(entry.image_shape),
        }


def _own(workshop: Workshop) -> Iterator[dict[str, Any]]:
    """Find folders of pictures: those collected in the page, and others beside them."""
    for place in (workshop.pictures, workshop.root):
        if not place.is_dir():
            continue
        folders = sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))
        for folder in folders[:MOST_FOLDERS]:
            if folder in (
                *(workshop.runs, workshop.trainings),
                *(workshop.pictures, workshop.fixes, workshop.checks),
            ):
                continue
            found = _described(folder, workshop.root)
            if found is not None or place == workshop.pictures:
                yield found or _empty(folder, workshop.root)


def stamp_of(folder: Path) -> Stamp:
    """Return what changes if a file or a folder is added below a folder, or removed: much faster
    than listing its pictures. Links to other folders are not followed."""
    found = list[tuple[str, int, int]]()
    for place, _, names in os.walk(folder):
        try:
            found.append((place, os.stat(place).st_mtime_ns, len(names)))  # noqa: PTH116
        except OSError:  # removed meanwhile
            found.append((place, 0, 0))
    return tuple(sorted(found))


def _described(folder: Path, root: Path) -> dict[str, Any] | None:
    stamp, (before, known) = stamp_of(folder), _known.get(folder, ((), None))
    if stamp == before:
        return known
    found = _listed(folder, root)
    _known[folder] = stamp, found
    return found


def _listed(folder: Path, root: Path) -> dict[str, Any] | None:
    try:
        listing = list_folder(folder, least=1)
    except UserError:
        return None
    return {
        **_empty(folder, root),
        "classes": list(listing.class_names),
        "images": len(listing.pictures),
    }


def _empty(folder: Path, root: Path) -> dict[str, Any]:
    return {
        "word": own_word(folder, root),
        "title": folder.name,
        "named": False,
        "here": True,
        "classes": [],
        "images": 0,
        "shape": None,
    }
