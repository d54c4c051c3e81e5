"""List folders of pictures: the class and the part of each file.

``PATH/CLASS/*``, or ``PATH/{train,validation,test}/CLASS/*``. Nothing is decoded here. Notes say
what is left out.
"""

import filecmp
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from firstlight.data.formats import HEIC_ADVICE, WANTED, is_heic_name
from firstlight.data.listing import (
    LAYOUT,
    Found,
    Listing,
    class_name,
    counted,
    listing_of,
)
from firstlight.data.split import TRAIN, part_in_name
from firstlight.data.tree import Node, read_tree
from firstlight.errors import DataError

_RENAME = "call the parts train, validation and test"


def list_folder(root: Path, *, least: int = 2) -> Listing:
    """List the pictures in ``root`` by class, and by part if its folders are parts.

    Folders in a class folder belong to the class. If a folder contains only one other folder, that
    one is used. A second copy of the classes in a folder next to them is left out. Raises
    ``DataError`` if fewer than ``least`` classes have pictures, if a part has a class that
    ``train`` lacks, or if the folders could be classes or parts.
    """
    notes: list[str] = []
    tree = read_tree(root, notes)
    if not tree.folders:
        there = f"{counted(len(tree.pictures), 'picture')} directly in it"
        raise DataError(f"{root}: {LAYOUT}; got {there if tree.pictures else 'nothing'}")
    top = _seen_through(tree, notes)
    if least == 1 and len(top.filled) == 1 and not top.pictures:
        (only,) = top.filled  # only a test part, which is enough to evaluate on
        if part_in_name(only.name).is_exact and _classes_in(only):
            top = _seen_through(only, notes)
    _tell_loose(top, root, notes)
    folders = _without_copies(root, top, notes)
    parts = _parts(root, folders)
    if parts:
        found = list(_by_part(root, folders, parts, notes))
    else:
        _refuse_ambiguous(root, folders)
        found = list(_by_class(folders, "", notes))
    return listing_of(root, found, notes, least)


def _by_part(
    root: Path, folders: list[Node], parts: dict[str, str], notes: list[str]
) -> Iterator[Found]:
    for folder in folders:
        part = parts.get(folder.name)
        if part is None:
            if folder.count:
                notes.append(f"{folder.path}/: not train, validation or test; left out")
            continue
        inner = _seen_through(folder, notes)
        _tell_loose(inner, root, notes)
        classes = _without_copies(root, inner, notes)
        if part == TRAIN and not classes:
            there = f"{counted(len(inner.pictures), 'picture')} directly in it"
            raise DataError(
                f"{root / folder.path}: {LAYOUT}; got {there if inner.pictures else 'nothing'}"
            )
        _refuse_ambiguous(root, classes)
        yield from _by_class(classes, part, notes)


def _by_class(folders: list[Node], part: str, notes: list[str]) -> Iterator[Found]:
    """Yield every picture. Two spellings of one name are one class."""
    spellings: set[str] = set()
    for folder in folders:
        label = class_name(folder.name)
        if label in spellings:
            notes.append(
                f"two folders are called {label}, with different Unicode spellings: treated as "
                "one class"
            )
        spellings.add(label)
        if not folder.count:
            notes.append(f"{folder.path}/: no pictures in it, so not a class")
        elif len(folder.pictures) < folder.count:
            deeper = folder.count - len(folder.pictures)
            notes.append(f"{folder.path}/: {counted(deeper, 'picture')} from its subfolders")
        if others := folder.others_below():
            notes.append(_left_out(folder.path, others))
        for inner, name in folder.below():
            yield Found(part, label, f"{folder.path}/{inner}{name}")


def _left_out(path: str, names: list[str]) -> str:
    several = Counter(names)
    first = ", ".join(list(several)[:3]) + (", …" if len(several) > 3 else "")
    photos = any(is_heic_name(name) for name in names)
    advice = f" ({WANTED}; {HEIC_ADVICE})" if photos else ""
    return f"{path}/: {counted(len(names), 'file')} left out, not pictures: {first}{advice}"


def _tell_loose(folder: Node, root: Path, notes: list[str]) -> None:
    if folder.pictures:
        where = f"directly in {f'{folder.path}/' if folder.path else root}"
        notes.append(
            f"{counted(len(folder.pictures), 'picture')} {where}: without a class, left out"
        )


# What the folders are


def _seen_through(folder: Node, notes: list[str]) -> Node:
    """Return the folder, or the only folder in it that contains the class folders. Unpacked
    archives often have such a folder."""
    while len(folder.filled) == 1 and not folder.pictures:
        (only,) = folder.filled
        if only.pictures or (not folder.path and part_in_name(only.name).is_exact):
            break
        others = [other for other in folder.folders if other is not only]
        notes += [f"{other.path}/: no pictures in it, so not a class" for other in others]
        notes.append(
            f"{only.path}/ is the only folder with pictures: the folders inside it are used"
        )
        folder = only
    return folder


def _classes_in(folder: Node) -> set[str]:
    """Return the names of the folders with pictures in a folder that has none itself."""
    return set() if folder.pictures else {one.name for one in _seen_through(folder, []).filled}


def _without_copies(root: Path, parent: Node, notes: list[str]) -> list[Node]:
    """Return the folders of ``parent`` without one that contains a copy of the others.

    Raises ``DataError`` if it contains folders with the same names but other pictures.
    """
    kept = []
    for folder in parent.folders:
        beside = {one.name: one for one in parent.filled if one is not folder}
        inside = _classes_in(folder)
        shared = inside & set(beside)
        if not shared or (shared != inside and len(shared) < 2):
            kept.append(folder)
            continue
        through = _seen_through(folder, [])
        if not all(_is_copy(root, one, beside.get(one.name)) for one in through.filled):
            raise DataError(
                f"{root}: {folder.path}/ holds folders with the same names as those next to it "
                f"({_some(shared)}), but with other pictures. Move these pictures into the "
                "folders next to it, or remove it"
            )
        notes.append(f"{folder.path}/: a second copy of the pictures next to it, left out")
    return kept


def _is_copy(root: Path, folder: Node, first: Node | None) -> bool:
    """Return whether ``first`` has every picture of ``folder`` at the same place, byte for byte."""
    if first is None:
        return False
    there = set(first.below())
    paths = ((f"{folder.path}/{i}{n}", f"{first.path}/{i}{n}") for i, n in folder.below())
    try:
        return set(folder.below()) <= there and all(
            filecmp.cmp(root / one, root / other, shallow=False) for one, other in paths
        )
    except OSError:  # a broken link
        return False


def _parts(root: Path, folders: list[Node]) -> dict[str, str]:
    """Return the part of each folder that is one, by name; empty if the folders are classes."""
    named = {folder.name: part_in_name(folder.name) for folder in folders}
    inside = {folder.name: _classes_in(folder) for folder in folders}
    leads = sorted(
        (name for name, word in named.items() if word.part == TRAIN),
        key=lambda name: (not named[name].is_exact, len(inside[name]) < 2),
    )
    if not leads:
        return {}
    lead = leads[0]
    parts = {
        name: word.part
        for name, word in named.items()
        if word.part and (word.rest == named[lead].rest or inside[name] & inside[lead])
    }
    filled = [folder for folder in folders if folder.count]
    others = [f for f in filled if f.name not in parts]
    holds_classes = len(inside[lead]) > 1
    if not holds_classes and not named[lead].is_exact:
        return {}
    if len(parts) == 1 and others:
        if holds_classes and named[lead].is_exact:
            raise DataError(
                f"{root}: {lead}/ holds the classes {_some(inside[lead])}, but next to it is "
                f"{_some({f.name for f in others})}, which is neither validation nor test; "
                f"{_RENAME}, or name the folder {lead} itself"
            )
        return {}
    twice = [part for part, count in Counter(parts.values()).items() if count > 1]
    if twice:
        both = " and ".join(f"{name}/" for name, part in parts.items() if part == twice[0])
        raise DataError(f"{root}: {both} are both {twice[0]}. Merge them, or remove one")
    strange = [f.name for f in others if inside[f.name] & inside[lead]]
    if strange:
        raise DataError(
            f"{root}: {_some(set(strange))} has classes like {lead}, but its name is not train, "
            f"validation or test; {_RENAME}, or remove it"
        )
    return parts


def _refuse_ambiguous(root: Path, folders: list[Node]) -> None:
    """Raise ``DataError`` if the folders are more likely parts than classes: they contain no
    pictures, but folders with the same names."""
    inside = {folder.path: names for folder in folders if (names := _classes_in(folder))}
    times = Counter(name for names in inside.values() for name in names)
    shared = {name for name, count in times.items() if count > 1}
    if shared and len(times) > 1:
        outer = {path for path, names in inside.items() if names & shared}
        raise DataError(
            f"{root}: {_some(outer)} hold no pictures of their own, only folders of the same "
            f"names ({_some(shared)}). If they are parts, {_RENAME}; if they are classes, put "
            "their pictures directly into them, or write a CSV of path,label"
        )
    for folder in folders:
        word = part_in_name(folder.name)
        if word.is_exact and len(_classes_in(folder)) > 1:
            raise DataError(
                f"{root}: {folder.path}/ holds the classes {_some(inside[folder.path])}, but no "
                f"folder next to it is the training part; {_RENAME}"
            )


def _some(names: set[str]) -> str:
    first = sorted(names)[:5]
    return ", ".join(first) + (", …" if len(names) > 5 else "")
