"""Pictures that are collected in the page: a folder for each set, with a folder for each class.

The folders are all there is, so a reload, another page or a file manager see the same. Nothing is
written that does not decode, and no name is used that another system would read differently.
"""

import hashlib
import io
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from firstlight.data.decode import Bounds, decode
from firstlight.data.formats import is_picture_file
from firstlight.data.listing import class_name
from firstlight.data.split import part_in_name
from firstlight.data.tree import is_litter
from firstlight.errors import DataError, UserError
from firstlight.files import is_portable, make_folder, write_whole
from firstlight.serve.limits import RefusedError
from firstlight.untrusted import printable

MOST_NAME = 60
"""Characters of a name. More than 255 bytes are too many for most disks."""
MOST_SETS, MOST_CLASSES = 100, 100
MOST_PICTURES = 5000
"""Of a set."""
MOST_BYTES = 2 << 30
"""Of a set."""
SMALL = 160
"""Pixels a side of a small picture."""
_KEPT = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""PNG and JPEG begin so. Others are written as PNG."""


class Collected:
    """All sets in one folder. It need not exist."""

    def __init__(self, place: Path, bounds: Bounds) -> None:
        """``bounds`` limits what a picture may cost to decode."""
        self._place, self._bounds, self._changing = place, bounds, Lock()

    def sets(self) -> list[str]:
        """The names of the sets, sorted. A folder that holds folders of folders, such as one with
        training and test pictures, is not a set that grows here."""
        return sorted(name for name, folder in _folders(self._place).items() if _is_flat(folder))

    def described(self, name: str) -> dict[str, Any]:
        """Return the set's classes, each with the names of its pictures, the latest first. A set
        that does not exist has no classes."""
        classes = {} if name not in self.sets() else _folders(self._set(name))
        return {
            "name": name,
            "classes": [
                {"name": label, "pictures": [at.name for at in _pictures(folder)]}
                for label, folder in sorted(classes.items())
            ],
        }

    def add_class(self, name: str, label: str) -> str:
        """Make a class, and its set if there is none; return its name as it was written."""
        set_name, label = checked_name(name, "the set"), checked_name(label, "the class")
        with self._changing:
            if set_name not in self.sets():
                _refuse_taken(set_name, _folders(self._place), MOST_SETS, "set")
            folder = self._place / set_name
            _refuse_taken(label, _folders(folder), MOST_CLASSES, "class")
            self._write(lambda: make_folder(folder / label))
        return label

    def rename_class(self, name: str, label: str, to: str) -> str:
        """Give a class another name; return it as it was written."""
        to = checked_name(to, "the class")
        with self._changing:
            folder = self._class(name, label)
            others = {one: at for one, at in _folders(folder.parent).items() if one != label}
            _refuse_taken(to, others, MOST_CLASSES, "class")
            self._write(lambda: folder.rename(folder.with_name(to)))
        return to

    def remove_class(self, name: str, label: str) -> None:
        """Remove a class with its pictures, and the set if it was the last one."""
        with self._changing:
            folder = self._class(name, label)
            self._write(lambda: shutil.rmtree(folder))
            if not any(folder.parent.iterdir()):
                self._write(folder.parent.rmdir)

    def add(self, name: str, label: str, content: bytes) -> tuple[str, bool]:
        """Write a picture; return its name, and whether it is new to the class.

        Its name is made of its bytes, so that one that is sent twice is one picture. PNG and JPEG
        are written as they came. Raises ``UserError`` if it does not decode or the set is full.
        """
        folder = self._class(name, label)
        blob, ending = self._checked(content)
        file = folder / f"{hashlib.blake2b(blob, digest_size=10).hexdigest()}{ending}"
        with self._changing:
            if file.exists():
                return file.name, False
            held = [one for at in _folders(folder.parent).values() for one in _pictures(at)]
            if len(held) >= MOST_PICTURES:
                raise UserError(
                    f"{name} has {MOST_PICTURES:,} pictures, as many as a set may have here. "
                    "Remove some, or train on a folder of your own"
                )
            if sum(one.stat().st_size for one in held) + len(blob) > MOST_BYTES:
                raise UserError(
                    f"the pictures of {name} take {MOST_BYTES >> 30} GiB, as much as a set may "
                    "take here. Make them smaller, or train on a folder of your own"
                )
            self._write(lambda: write_whole(file, blob))
        return file.name, True

    def remove(self, name: str, label: str, picture: str) -> None:
        """Remove a picture."""
        file = self._picture(name, label, picture)
        self._write(file.unlink)

    def small(self, name: str, label: str, picture: str) -> bytes:
        """Return a picture as a JPEG of at most ``SMALL`` pixels a side."""
        return small_picture(self._picture(name, label, picture), self._bounds)

    def _checked(self, content: bytes) -> tuple[bytes, str]:
        """Return the bytes to write, and the file's ending."""
        try:
            image = decode("the picture", content, [], self._bounds)
        except DataError as error:
            raise UserError(str(error)) from error  # nothing here is broken
        if content.startswith(_KEPT):
            return content, ".png" if content.startswith(_KEPT[0]) else ".jpg"
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return stream.getvalue(), ".png"

    def _set(self, name: str) -> Path:
        sets = _folders(self._place)
        return _found({one: at for one, at in sets.items() if _is_flat(at)}, name, "set")

    def _class(self, name: str, label: str) -> Path:
        return _found(_folders(self._set(name)), label, "class")

    def _picture(self, name: str, label: str, picture: str) -> Path:
        found = {one.name: one for one in _pictures(self._class(name, label))}
        return _found(found, picture, "picture")

    def _write(self, change: Callable[[], object]) -> None:
        try:
            change()
        except OSError as error:
            raise DataError(f"{self._place}: cannot be changed: {error.strerror}") from error


def checked_name(text: str, what: str) -> str:
    """Return a name for a folder, in composed Unicode and without space around it.

    Raises ``UserError`` for a name that another system or the reading of folders would take for
    something else.
    """
    name = unicodedata.normalize("NFC", text).strip()
    shown = printable(name[: MOST_NAME + 1])
    if not 1 <= len(name) <= MOST_NAME:
        raise UserError(f"{what}: wanted a name of 1 to {MOST_NAME} characters, got {shown!r}")
    seen = any(unicodedata.category(sign)[0] not in "ZC" for sign in name)
    if not seen or not is_portable(name) or is_litter(name) or shown != name:
        raise UserError(
            f"{what}: {shown!r} cannot be the name of a folder on every system. Leave out / \\ : "
            '* ? " < > |, control characters, and dots at the start and end; names of devices '
            "such as CON are not possible either"
        )
    if part_in_name(name).is_exact:
        raise UserError(
            f"{what}: {shown!r} is what folders for parts of a data set are called. Choose another "
            f"name, such as 'a {shown}'"
        )
    return name


def small_picture(file: Path, bounds: Bounds, side: int = SMALL) -> bytes:
    """Return a picture file as a JPEG of at most ``side`` pixels a side. Raises ``DataError``."""
    enough = Bounds(pixels=bounds.pixels, enough=side * side, memory=bounds.memory)
    image, stream = decode(file.name, file, [], enough), io.BytesIO()
    image.thumbnail((side, side))
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _folders(place: Path) -> dict[str, Path]:
    """Return the folders in a folder by their names as people read them. Links lead elsewhere and
    are left out."""
    try:
        with os.scandir(place) as entries:
            found = [one for one in entries if one.is_dir(follow_symlinks=False)]
    except OSError:
        return {}
    return {class_name(one.name): Path(one.path) for one in found if not is_litter(one.name)}


def _is_flat(folder: Path) -> bool:
    return not any(_folders(inner) for inner in _folders(folder).values())


def _pictures(folder: Path) -> list[Path]:
    """Return the picture files directly in a folder, the latest first."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (-one.stat().st_mtime_ns, one.path)
                for one in entries
                if not is_litter(one.name)
                and one.is_file(follow_symlinks=False)
                and is_picture_file(one.path)
            ]
    except OSError:  # removed meanwhile
        return []
    return [Path(path) for _, path in sorted(found)]


def _found(places: dict[str, Path], name: str, what: str) -> Path:
    """Return one of the places. A name is only compared with those that are there, never joined to
    a path."""
    if name not in places:
        raise RefusedError(status=404, message=f"no such {what}")
    return places[name]


def _refuse_taken(name: str, others: dict[str, Path], most: int, what: str) -> None:
    """Raise ``UserError`` for a name that some system takes for another one that is there."""
    same = next((one for one in others if one.casefold() == name.casefold()), None)
    if same is not None:
        raise UserError(f"there is a {what} {same!r} already. Choose another name")
    if len(others) >= most:
        raise UserError(f"there are {most} of them already, as many as there may be here")
