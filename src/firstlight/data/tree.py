"""The contents of a folder: its folders, pictures and other files."""

import os
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from firstlight.data.formats import is_picture_file
from firstlight.errors import DataError

# What operating systems add to folders; not worth a note.
_LITTER = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir"}


@dataclass
class Node:
    """A folder. Complete once ``read_tree`` has returned."""

    name: str
    path: str
    """The path relative to the root, with slashes; empty for the root."""
    folders: list["Node"] = field(default_factory=list)
    """Sorted by name."""
    pictures: list[str] = field(default_factory=list)
    """Names of the pictures directly in it."""
    others: list[str] = field(default_factory=list)
    """Names of the other files directly in it."""

    @cached_property
    def count(self) -> int:
        """Count the pictures in it and its subfolders."""
        return len(self.pictures) + sum(folder.count for folder in self.folders)

    @property
    def filled(self) -> list["Node"]:
        """Its folders with pictures in them or in their subfolders."""
        return [folder for folder in self.folders if folder.count]

    def below(self) -> list[tuple[str, str]]:
        """Return (path relative to this folder with a slash at the end, name) of every picture."""
        return [(inner, name) for inner, node in self._all() for name in node.pictures]

    def others_below(self) -> list[str]:
        """Return the names of the files that are not pictures."""
        return [name for _, node in self._all() for name in node.others]

    def _all(self) -> list[tuple[str, "Node"]]:
        found, waiting = [], deque([("", self)])
        while waiting:
            inner, node = waiting.popleft()
            found.append((inner, node))
            waiting.extend((f"{inner}{folder.name}/", folder) for folder in node.folders)
        return found


def read_tree(root: Path, notes: list[str]) -> Node:
    """Read everything in ``root`` except hidden files and what operating systems add.

    Links are followed after the real folders. A link to a folder that was already read, or to one
    that contains ``root``, is not followed, and ``notes`` says so. Raises ``DataError`` for a
    folder that cannot be opened.
    """
    top = Node(root.name, "")
    seen = {_identity(place) for place in (root.absolute(), *root.absolute().parents)}
    folders: deque[Node] = deque([top])
    links: deque[tuple[Node, Node]] = deque()
    while folders or links:
        if folders:
            node = folders.popleft()
        else:
            parent, node = links.popleft()
            place = _identity(root / node.path)
            if place in seen:
                notes.append(
                    f"{root / node.path}: a link back to a folder already visited, not followed"
                )
                continue
            seen.add(place)
            parent.folders.append(node)
        _read(root, node, folders, links, seen)
    _sort(top)
    return top


def _read(
    root: Path,
    node: Node,
    folders: deque[Node],
    links: deque[tuple[Node, Node]],
    seen: set[tuple[int, int]],
) -> None:
    try:
        with os.scandir(root / node.path) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{root / node.path}: this folder cannot be opened: {error.strerror}"
        ) from error
    for entry in entries:
        if is_litter(entry.name):
            continue
        if _is_folder(entry):
            child = Node(entry.name, f"{node.path}/{entry.name}" if node.path else entry.name)
            if entry.is_symlink():
                links.append((node, child))
            else:
                seen.add(_identity(root / child.path))
                node.folders.append(child)
                folders.append(child)
        elif is_picture_file(entry.path):
            node.pictures.append(entry.name)
        else:
            node.others.append(entry.name)


def _sort(top: Node) -> None:
    waiting = [top]
    while waiting:
        node = waiting.pop()
        node.folders.sort(key=lambda folder: folder.name)
        waiting += node.folders


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be opened: {error.strerror}") from error
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_litter(name: str) -> bool:
    """Whether a name is that of a hidden file, or of what systems leave in folders."""
    return name.startswith(".") or name.lower() in _LITTER
