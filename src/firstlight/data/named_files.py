"""The files that a CSV names: relative to its folder, or in a folder next to it, as competitions
pack them (``train.csv`` with ``id,label`` next to ``train/ID.jpg``)."""

import os
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple

from firstlight.data.formats import SUFFIXES
from firstlight.data.listing import counted
from firstlight.data.split import part_in_name
from firstlight.errors import DataError

_MOST_FOLDERS = 1000
"""The largest number of folders next to a CSV that are searched."""


class _Place(NamedTuple):
    """What turns a name into a path."""

    folder: str
    """With a slash at the end; empty for the CSV's own folder."""
    ending: str

    def path(self, name: str) -> str:
        return f"{self.folder}{name}{self.ending}"


_BESIDE = ", and no single folder next to the CSV holds them all"
_AS_IT_IS = _Place("", "")


class FilesBeside:
    """Finds what the cells of a CSV name."""

    def __init__(self, file: Path) -> None:
        self._file, self._root = file, file.parent

    def nearness(self, name: str) -> int:
        """Return 3 for a file relative to the CSV's folder, 2 for one in a folder next to it, 1 if
        an extension has to be added, else 0."""
        if _is_file(self._root, name):
            return 3
        return max((1 if place.ending else 2 for place in self._places([name])), default=0)

    def names(
        self, paths: list[tuple[int, str]], allow_outside: bool
    ) -> tuple[list[str], list[str]]:
        """Return each path relative to the CSV's folder, with slashes, and a note if the files are
        elsewhere. Raises ``DataError``, with the line, for files that do not exist, are in several
        places, or are outside while ``allow_outside`` is unset."""
        place, notes = self._place([path for _, path in paths]), list[str]()
        if place != _AS_IT_IS:
            where = place.path("…")
            notes.append(f"{self._file.name}: the pictures are read from {where}")
            paths = [(line, place.path(path)) for line, path in paths]
        return _names(self._file, paths, allow_outside), notes

    def _place(self, names: list[str]) -> _Place:
        """Return where all the files are; the CSV's own folder if some are missing everywhere."""
        if _is_file(self._root, names[0]):
            return _AS_IT_IS
        found = self._places(names)
        part = part_in_name(self._file.stem).part
        mine = [one for one in found if part and part_in_name(one.folder).part == part]
        if len(found) > 1 and len(mine) == 1:
            return mine[0]
        if len(found) > 1:
            places = " and as ".join(one.path(names[0]) for one in found[:3])
            raise DataError(
                f"{self._file}: {names[0]} and all the others exist as {places}. Write the "
                "folder before each name"
            )
        return found[0] if found else _AS_IT_IS

    def _places(self, names: list[str]) -> list[_Place]:
        """Return all places that have a file for each name."""
        endings = ("",) if os.path.splitext(names[0])[1] else ("", *SUFFIXES)  # noqa: PTH122
        either = [_Place(folder, ending) for folder in self._folders for ending in endings]
        return [
            place
            for place in either
            if all(name and _is_file(self._root, place.path(name)) for name in names)
        ]

    @cached_property
    def _folders(self) -> list[str]:
        """Return the CSV's folder, the folders next to the CSV, and in each of these a folder with
        the same name."""
        found = [""]
        try:
            beside = sorted(one.name for one in self._root.iterdir() if one.is_dir())
        except OSError:
            return found
        for name in beside[:_MOST_FOLDERS]:
            if not name.startswith("."):
                found.append(f"{name}/")
                if (self._root / name / name).is_dir():
                    found.append(f"{name}/{name}/")
        return found


def _names(file: Path, paths: list[tuple[int, str]], allow_outside: bool) -> list[str]:
    """Return each path relative to the CSV's folder, with slashes."""
    root = file.parent
    real, inside = os.path.realpath(root), dict[str, bool]()
    absent, names = [], []
    for line, path in paths:
        if not _is_file(root, path) and "\\" in path:
            path = path.replace("\\", "/")  # written by Windows
        if not _is_file(root, path):
            absent.append((line, path))
            continue
        name = _name(root, path)
        if not allow_outside and not _leads_inside(real, root / name, inside):
            raise DataError(
                f"{file}, line {line}: {path} is outside the folder of the CSV. To allow such "
                "files, use --allow-outside (in Python allow_outside=True)"
            )
        names.append(PurePath(name).as_posix())
    if absent:
        line, path = absent[0]
        more = f" and {counted(len(absent) - 1, 'other')}" if len(absent) > 1 else ""
        raise DataError(f"{file}, line {line}: no such file: {root / path}{more}{_BESIDE}")
    return names


def _name(root: Path, path: str) -> str:
    """Return one name for one file: ``./a.png`` is ``a.png``."""
    name = os.path.normpath(path)
    if Path(name).is_absolute():
        return os.path.relpath(name, root.absolute())
    # After a link to a folder, ".." is somewhere else.
    same = ".." not in path or (_is_file(root, name) and (root / name).samefile(root / path))
    return name if same else path


def _is_file(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except ValueError:  # a null character
        return False


def _leads_inside(root: str, path: Path, known: dict[str, bool]) -> bool:
    """Return whether a file is inside ``root``, following links. ``known`` caches the answers for
    folders."""
    folder, _ = os.path.split(path)
    if folder not in known:
        known[folder] = _is_below(root, os.path.realpath(folder))
    if path.is_symlink():
        return _is_below(root, os.path.realpath(path))
    return known[folder]


def _is_below(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
