"""The files that a CSV names: from its folder on, or in one folder beside it, as competitions pack
them (``train.csv`` with ``id,label`` beside ``train/ID.jpg``)."""

import os
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple

from firstlight.data.formats import SUFFIXES
from firstlight.data.listing import counted
from firstlight.data.split import part_in_name
from firstlight.errors import DataError

_MOST_FOLDERS = 1000
"""Beside a CSV that are looked into."""


class _Place(NamedTuple):
    """What is put around a name to make it a path."""

    folder: str
    """With a slash at its end; empty for the CSV's own."""
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
        """3 for a file from the CSV's folder on, 2 for one in a folder beside it, 1 where an ending
        has to be added, else 0."""
        if _is_file(self._root, name):
            return 3
        return max((1 if place.ending else 2 for place in self._places([name])), default=0)

    def names(
        self, paths: list[tuple[int, str]], allow_outside: bool
    ) -> tuple[list[str], list[str]]:
        """Each path from the CSV's folder on, with slashes; and a note of the place, where it is
        not that folder. Raises ``DataError``, with the line, for files that are not there, are in
        several places, or lie outside with ``allow_outside`` unset."""
        place, notes = self._place([path for _, path in paths]), list[str]()
        if place != _AS_IT_IS:
            where = place.path("…")
            notes.append(f"{self._file.name}: the pictures are read from {where}")
            paths = [(line, place.path(path)) for line, path in paths]
        return _names(self._file, paths, allow_outside), notes

    def _place(self, names: list[str]) -> _Place:
        """Where all of the files are. Where some are missing everywhere, the CSV's own folder."""
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
        """All places that have a file of each name."""
        endings = ("",) if os.path.splitext(names[0])[1] else ("", *SUFFIXES)  # noqa: PTH122
        either = [_Place(folder, ending) for folder in self._folders for ending in endings]
        return [
            place
            for place in either
            if all(name and _is_file(self._root, place.path(name)) for name in names)
        ]

    @cached_property
    def _folders(self) -> list[str]:
        """The CSV's own, those beside the CSV, and in each of them one of its own name."""
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
    """Each path from the CSV's folder on, with slashes."""
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
    """One name for one file: ``./a.png`` is ``a.png``."""
    name = os.path.normpath(path)
    if Path(name).is_absolute():
        return os.path.relpath(name, root.absolute())
    # After a link to a folder, ".." is not where it was.
    same = ".." not in path or (_is_file(root, name) and (root / name).samefile(root / path))
    return name if same else path


def _is_file(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except ValueError:  # a null character
        return False


def _leads_inside(root: str, path: Path, known: dict[str, bool]) -> bool:
    """Whether a file lies below ``root``, links followed; ``known`` keeps what folders do."""
    folder, _ = os.path.split(path)
    if folder not in known:
        known[folder] = _is_below(root, os.path.realpath(folder))
    if path.is_symlink():
        return _is_below(root, os.path.realpath(path))
    return known[folder]


def _is_below(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
