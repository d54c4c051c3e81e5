"""Choose the files of a data set on the hub that have the pictures of each part."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from firstlight.data.formats import SUFFIXES
from firstlight.data.hub.card import Card
from firstlight.data.split import TRAIN, part_in_name
from firstlight.errors import DataError
from firstlight.hub.word import HubWord

PARQUET, FOLDER = "parquet", "folder"
_NUMBERED = re.compile(r"[-_.]?\d{4,}(-of-\d{4,})?$")
_PARTIAL = "partial-"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The chosen files."""

    kind: str
    """``parquet``, or ``folder``: pictures in folders of classes."""
    part_of: Mapping[str, str]
    """File to part, sorted. The part is empty if there are no parts."""
    configuration: str = "default"
    notes: tuple[str, ...] = ()
    is_partial: bool = False
    """Whether the hub says that it is only a fraction of the data set."""


def chosen(files: Iterable[str], card: Card, word: HubWord) -> Chosen | None:
    """Return the files of the data set, or of the named configuration. Return None if they are
    neither Parquet nor pictures in folders. Raises ``DataError`` if the choice is unclear."""
    there = sorted(one for one in files if not _is_hidden(one))
    parquet = [one for one in there if one.lower().endswith(".parquet")]
    if parquet:
        configurations = _by_card(parquet, card) or _by_folder(parquet)
        name = _one(configurations, card, word)
        part_of, notes = _parts(configurations[name], word)
        others = [one for one in {**card.patterns, **configurations} if one != name]
        if others and not word.configuration:
            notes.append(f"{word}: uses the configuration {name}; others are {_some(others)}")
        return Chosen(
            kind=PARQUET,
            part_of=part_of,
            configuration=name,
            notes=tuple(notes),
            is_partial=any(one.startswith(_PARTIAL) for one in configurations[name]),
        )
    pictures = [
        one for one in there if PurePosixPath(one).suffix.lower() in SUFFIXES and one.count("/") > 0
    ]
    listed = any(PurePosixPath(one).stem.lower() == "metadata" for one in there)
    if not pictures or listed:
        return None
    if word.configuration:
        raise DataError(f"{word}: has no configurations; name it without {word.configuration}")
    return Chosen(kind=FOLDER, part_of=dict.fromkeys(pictures, ""))


def _is_hidden(file: str) -> bool:
    """Return whether a file's name excludes it: it is not a picture, or not a valid name here."""
    parts = file.split("/")
    return any(not one or one.startswith(".") or ":" in one or "\\" in one for one in parts)


def _by_card(files: list[str], card: Card) -> dict[str, dict[str, list[str]]]:
    """Return configuration to split to files, as the card says."""
    found = dict[str, dict[str, list[str]]]()
    for name, splits in card.patterns.items():
        matched = {
            split: [one for one in files if any(fnmatchcase(one, p) for p in patterns)]
            for split, patterns in splits.items()
        }
        if any(matched.values()):
            found[name] = {split: those for split, those in matched.items() if those}
    return found


def _by_folder(files: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return the same from the names of files and folders: ``data/train-00000-of-00002.parquet``,
    ``CONFIGURATION/train/0000.parquet``."""
    tops = {one.partition("/")[0] if "/" in one else "" for one in files}
    split_tops = len(tops) < 2 or any(part_in_name(top).is_exact or not top for top in tops)
    found = dict[str, dict[str, list[str]]]()
    for one in files:
        top = "default" if split_tops else one.partition("/")[0]
        found.setdefault(top, {}).setdefault(_split(one), []).append(one)
    return found


def _split(file: str) -> str:
    """Return the split in a file's name, or else in its folder's name, or else an empty text."""
    path = PurePosixPath(file)
    stem = _NUMBERED.sub("", path.stem)
    if part_in_name(stem).part:
        return stem
    folder = path.parent.name
    if part_in_name(folder.removeprefix(_PARTIAL)).is_exact:
        return folder
    return stem


def _one(found: Mapping[str, object], card: Card, word: HubWord) -> str:
    if word.configuration:
        if word.configuration not in found:
            raise DataError(
                f"{word}: has no configuration {word.configuration}; choose from {_some(found)}"
            )
        return word.configuration
    default = card.default if card.default in found else "default"
    if len(found) > 1 and default not in found:
        first = next(iter(found))
        raise DataError(
            f"{word}: has the configurations {_some(found)}. Name one, as in "
            f"hf:{word.repository}/{first}"
        )
    return default if default in found else next(iter(found))


def _parts(splits: Mapping[str, list[str]], word: HubWord) -> tuple[dict[str, str], list[str]]:
    """Return the part of each file, and what was left out or merged."""
    notes, by_part = list[str](), dict[str, list[str]]()
    partial = [split for split in splits if split.startswith(_PARTIAL)]
    if partial:
        notes.append(
            f"{word}: the hub holds only the first part of {', '.join(partial)} as Parquet"
        )
    if len(splits) == 1:
        ((_, files),) = splits.items()
        return dict.fromkeys(sorted(files), ""), notes
    for split in splits:
        told = part_in_name(split.removeprefix(_PARTIAL))
        if told.is_exact:
            by_part.setdefault(told.part, []).append(split)
        else:
            notes.append(f"{word}: the split {split or 'without a name'} is left out")
    if TRAIN not in by_part:
        raise DataError(
            f"{word}: wanted a split train, got {', '.join(one or '(no name)' for one in splits)}"
        )
    notes += [
        f"{word}: {' and '.join(these)} together are {part}"
        for part, these in by_part.items()
        if len(these) > 1
    ]
    only = len(by_part) == 1
    pairs = [
        (file, "" if only else part)
        for part, these in by_part.items()
        for split in these
        for file in splits[split]
    ]
    return dict(sorted(pairs)), notes


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
