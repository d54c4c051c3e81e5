"""Pictures of one's own: which files belong to which class and to which part.

``PATH/CLASS/*``, or ``PATH/{train,validation,test}/CLASS/*``, or a CSV of path and label. Nothing
is decoded here; what is left out is told in notes.
"""

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from firstlight.data.decode import WANTED
from firstlight.data.pictures import SUFFIXES, PictureSource
from firstlight.data.split import PART_NAMES, TRAIN
from firstlight.errors import DataError

# What systems leave in folders; not worth a word.
_LITTER = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir"}
_PHOTOS = (".heic", ".heif", ".avif")
_Found = tuple[str, str, str]
"""Part, class, name."""
_LAYOUT = "wanted a folder for each class with its pictures inside, as in PATH/cat/1.jpg"


class Listed(NamedTuple):
    """One picture file that counts."""

    name: str
    """Its path from the root on, with slashes; tells it apart from every other."""
    label: int
    """Index into the class names."""
    part: str = ""
    """``train``, ``validation``, ``test``, or empty where that is still to be decided."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All pictures of a folder or a CSV."""

    root: Path
    class_names: tuple[str, ...]
    """Sorted."""
    pictures: tuple[Listed, ...]
    """Sorted by name."""
    notes: tuple[str, ...]
    """What was left out or put together, for people."""

    def sources(self) -> list[PictureSource]:
        """Where each picture lies."""
        return [PictureSource(name=p.name, content=self.root / p.name) for p in self.pictures]

    def without(self, names: Sequence[str]) -> "Listing":
        """The listing less these names. Raises ``DataError`` for one that is not there, and where
        a class loses its last picture."""
        if not names:
            return self
        gone, have = set(names), {p.name for p in self.pictures}
        strange = sorted(gone - have)
        if strange:
            raise DataError(
                f"{self.root} has no picture {strange[0]!r}, which is to be left out; names are "
                f"from the folder on, such as {self.pictures[0].name}"
            )
        left = tuple(p for p in self.pictures if p.name not in gone)
        for label, name in enumerate(self.class_names):
            if all(p.label != label for p in left):
                raise DataError(f"{self.root}: every picture of {name!r} would be left out")
        note = f"{len(gone)} of the pictures left out, as asked for"
        return replace(self, pictures=left, notes=(*self.notes, note))


def list_pictures(path: Path) -> Listing:
    """``list_csv`` of a file, ``list_folder`` of a folder."""
    return list_csv(path) if path.is_file() else list_folder(path)


def list_folder(root: Path) -> Listing:
    """The pictures below ``root`` by class, and by part where its folders are parts.

    Folders below a class folder belong to the class; links are followed, loops are not. Raises
    ``DataError`` where there are not two classes with a picture each, or a part has a class that
    ``train`` lacks.
    """
    folders, loose = _folders_and_pictures(root)
    parts = {f.name: PART_NAMES[f.name.lower()] for f in folders if f.name.lower() in PART_NAMES}
    split = TRAIN in parts.values() and (len(parts) > 1 or len(parts) == len(folders))
    notes: list[str] = []
    if loose:
        notes.append(f"{counted(len(loose), 'picture')} directly in {root}: of no class, left out")
    found: list[_Found] = []
    if not split:
        found = [("", *one) for one in _classes(root, folders, notes, root)]
    else:
        for folder in folders:
            if folder.name not in parts:
                notes.append(f"{folder.name}/: neither train, validation nor test, left out")
                continue
            inner, loose = _folders_and_pictures(folder)
            if loose:
                where = f"directly in {folder.name}/"
                notes.append(f"{counted(len(loose), 'picture')} {where}: of no class, left out")
            part = parts[folder.name]
            found += [(part, *one) for one in _classes(folder, inner, notes, root)]
    return _listing(root, found, notes)


def list_csv(file: Path) -> Listing:
    """The pictures of a CSV with the columns ``path`` and ``label``, and perhaps ``part``.

    Paths are from the CSV's folder on. Raises ``DataError``, which names the line.
    """
    found: list[_Found] = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            names = rows.fieldnames or []
            if not {"path", "label"} <= set(names):
                raise DataError(
                    f"{file}: wanted the columns path,label in the first line, "
                    f"got {','.join(names) or 'nothing'}"
                )
            for row in rows:
                at = f"{file}, line {rows.line_num}"
                path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
                word = (row.get("part") or row.get("split") or "").strip().lower()
                if not path or not label:
                    raise DataError(f"{at}: wanted a path and a label")
                if word and word not in PART_NAMES:
                    raise DataError(f"{at}: part {word!r}; there are train, validation, test")
                if not (file.parent / path).is_file():
                    raise DataError(f"{at}: there is no file {file.parent / path}")
                found.append((PART_NAMES.get(word, ""), _text(label), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV: {_why(error)}") from error
    if len({bool(part) for part, _, _ in found}) > 1:
        raise DataError(f"{file}: some pictures have a part and others none; give all one, or none")
    twice = [name for name, n in Counter(name for _, _, name in found).items() if n > 1]
    if twice:
        raise DataError(f"{file}: {twice[0]} stands there more than once")
    return _listing(file.parent, found, [])


def read_names(file: Path) -> tuple[str, ...]:
    """The column ``path`` of a CSV: pictures to leave out. Raises ``DataError``."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if "path" not in (rows.fieldnames or []):
                raise DataError(f"{file}: wanted a column path in the first line")
            return tuple(row["path"] for row in rows if row["path"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV: {_why(error)}") from error


def _why(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _listing(root: Path, found: list[_Found], notes: list[str]) -> Listing:
    by_part: dict[str, Counter[str]] = {}
    for part, label, _ in found:
        by_part.setdefault(part, Counter())[label] += 1
    trained = by_part.get(TRAIN, by_part.get("", Counter()))
    if len(trained) < 2:
        got = f"one class, {next(iter(trained))!r}" if trained else "no picture in any class folder"
        said = "".join(f"\n  {note}" for note in notes)
        raise DataError(f"{root}: {_LAYOUT}, of at least two classes; got {got}{said}")
    for part, counts in by_part.items():
        strange = sorted(set(counts) - set(trained))
        if strange:
            raise DataError(
                f"{root}: {part} has the class {strange[0]!r}, which train has not; there are "
                f"{', '.join(sorted(trained)[:10])}. Rename or remove it"
            )
        absent = sorted(set(trained) - set(counts))
        if absent:
            notes.append(f"{part} has no picture of {', '.join(absent[:10])}")
    names = tuple(sorted(trained))
    index = {name: label for label, name in enumerate(names)}
    pictures = [
        Listed(name, index[label], part)
        for part, label, name in sorted(found, key=lambda one: one[2])
    ]
    return Listing(
        root=root, class_names=names, pictures=tuple(pictures), notes=tuple(sorted(notes))
    )


def _classes(
    parent: Path, folders: list[Path], notes: list[str], root: Path
) -> Iterator[tuple[str, str]]:
    """(class, name) of every picture; two spellings of one name are one class."""
    spellings: dict[str, str] = {}
    for folder in folders:
        label = _text(folder.name)
        if label in spellings:
            notes.append(f"two folders are called {label}, spelt differently in Unicode: one class")
        spellings[label] = folder.name
        count, deeper, others = 0, 0, Counter[str]()
        below = folder.relative_to(root).as_posix()
        for inner, file in _walk(str(folder), notes):
            if os.path.splitext(file)[1].lower() not in SUFFIXES:  # noqa: PTH122 (60,000 of them)
                others[file] += 1
                continue
            count += 1
            deeper += inner != ""
            yield label, f"{below}/{inner}{file}"
        if not count:
            notes.append(f"{below}/: no picture in it, so no class")
        if deeper:
            notes.append(f"{below}/: {deeper} of its pictures lie in folders below it")
        if others:
            first = ", ".join(list(others)[:3]) + (", …" if len(others) > 3 else "")
            photos = any(name.lower().endswith(_PHOTOS) for name in others)
            advice = f" ({WANTED}; save HEIC and AVIF as JPEG)" if photos else ""
            notes.append(
                f"{below}/: {counted(others.total(), 'file')} left out, no picture by name: "
                f"{first}{advice}"
            )


def _walk(folder: str, notes: list[str]) -> Iterator[tuple[str, str]]:
    """(folders below with a last slash, name) of every file, links followed; a folder that was met
    before is not entered, nor one that this one lies in."""
    above = [parent.stat() for parent in Path(folder).absolute().parents]
    seen = {(status.st_dev, status.st_ino) for status in above}

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: this folder cannot be opened: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            notes.append(f"{parent}: a link back to a folder that is met already, not followed")
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        inner = parent[len(folder) + 1 :].replace(os.sep, "/")
        inner += "/" if inner else ""
        yield from ((inner, name) for name in files if not _is_litter(name))


def _folders_and_pictures(root: Path) -> tuple[list[Path], list[Path]]:
    try:
        entries = sorted(p for p in root.iterdir() if not _is_litter(p.name))
    except OSError as error:
        raise DataError(f"{root}: this folder cannot be opened: {error.strerror}") from error
    folders = [p for p in entries if p.is_dir()]
    pictures = [p for p in entries if p.suffix.lower() in SUFFIXES and p not in folders]
    if not folders:
        there = f"{counted(len(pictures), 'picture')} directly in it" if pictures else "nothing"
        raise DataError(f"{root}: {_LAYOUT}; got {there}")
    return folders, pictures


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _text(name: str) -> str:
    """A class name as people read it: composed Unicode, bytes that are no text shown as �."""
    return unicodedata.normalize(
        "NFC", name.encode(errors="surrogateescape").decode(errors="replace")
    )


def counted(count: int, word: str) -> str:
    """``1 picture``, ``2,000 pictures``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
