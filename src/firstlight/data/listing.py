"""A list of labelled picture files, from a folder, a CSV or an archive."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from firstlight.data.pictures import PictureSource
from firstlight.data.split import TRAIN
from firstlight.errors import DataError

LAYOUT = "wanted a folder for each class with its pictures inside, as in PATH/cat/1.jpg"

SEVERAL = 2**62
"""Used in place of a class's number, so that looking it up fails and gives no wrong class."""


class Found(NamedTuple):
    """One picture file and its class."""

    part: str
    """``train``, ``validation``, ``test``, or empty if that is not decided yet."""
    label: str
    """The name of its class; of several labels, the joined names, or empty."""
    name: str
    """Its path relative to the root, with slashes."""
    group: str = ""
    """Pictures of one group stay on one side of a split. Empty if it has no group."""
    labels: tuple[str, ...] | None = None
    """The names of all its labels, if it may have several."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its class or of its labels."""
        return (self.label,) if self.labels is None else self.labels


class Listed(NamedTuple):
    """One picture file of a listing."""

    name: str
    """Its path relative to the root, with slashes. It is unique."""
    label: int
    """Index into the class names; ``SEVERAL`` if the picture may have several labels."""
    part: str = ""
    """As in ``Found``."""
    group: str = ""
    """As in ``Found``."""
    labels: tuple[int, ...] | None = None
    """Ascending indices of its labels, if it may have several."""

    @property
    def classes(self) -> tuple[int, ...]:
        """The index of its class, or those of its labels."""
        return (self.label,) if self.labels is None else self.labels

    @property
    def told(self) -> str:
        """Everything known about it except its name, as text."""
        return f"{','.join(map(str, self.classes))}\0{self.part}\0{self.group}"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All pictures of a folder or a CSV."""

    root: Path
    class_names: tuple[str, ...]
    """Sorted."""
    pictures: tuple[Listed, ...]
    """Sorted by name."""
    notes: tuple[str, ...]
    """Messages: what was left out or merged."""
    several: bool = False
    """Whether a picture may have several labels, or none."""
    origin: str = ""
    """Where the pictures came from, if that should be shown."""

    def sources(self) -> list[PictureSource]:
        """The source of each picture."""
        return [PictureSource(name=p.name, content=self.root / p.name) for p in self.pictures]

    def with_pictures(self, pictures: tuple[Listed, ...], notes: Sequence[str]) -> "Listing":
        """Return the listing with these pictures, and with more notes."""
        return replace(self, pictures=pictures, notes=(*self.notes, *notes))


def listing_of(
    root: Path,
    found: list[Found],
    notes: list[str],
    least: int = 2,
    named: Sequence[str] = (),
) -> Listing:
    """Return the listing of these pictures. ``named`` are labels that it has even if no picture has
    them. Raises ``DataError`` if there are fewer than ``least`` classes (training needs two), or if
    a part has a class that ``train`` lacks."""
    by_part: dict[str, Counter[str]] = {}
    for one in found:
        by_part.setdefault(one.part, Counter()).update(one.names)
    trained = by_part.get(TRAIN, by_part.get("", Counter()))
    if least == 1:  # for evaluation only: any part may have its own classes
        trained = Counter(name for one in found for name in one.names)
    if len(trained) < least:
        got = f"one class, {next(iter(trained))!r}" if trained else "no picture in any class folder"
        said = "".join(f"\n  {note}" for note in notes)
        wanted = "two classes" if least > 1 else "one class"
        raise DataError(f"{root}: {LAYOUT}, of at least {wanted}; got {got}{said}")
    kind = "class" if all(one.labels is None for one in found) else "label"
    for part, counts in by_part.items():
        strange = sorted(set(counts) - set(trained))
        if strange:
            raise DataError(
                f"{root}: {part} has the {kind} {strange[0]!r}, which train does not have; train "
                f"has {', '.join(sorted(trained)[:10])}. Rename or remove it"
            )
        absent = sorted(set(trained) - set(counts))
        if absent:
            notes.append(f"{part} has no pictures of {', '.join(absent[:10])}")
    names = tuple(sorted({*trained, *named}))
    notes += alike_names(names)
    index = {name: label for label, name in enumerate(names)}
    pictures = [_listed(one, index) for one in sorted(found, key=lambda one: one.name)]
    return Listing(
        root=root,
        class_names=names,
        pictures=tuple(pictures),
        notes=tuple(sorted(notes)),
        several=any(one.labels is not None for one in found),
    )


def _listed(one: Found, index: dict[str, int]) -> Listed:
    if one.labels is None:
        return Listed(one.name, index[one.label], one.part, one.group)
    labels = tuple(sorted(index[label] for label in one.labels))
    return Listed(one.name, SEVERAL, one.part, one.group, labels)


def alike_names(names: Sequence[str]) -> list[str]:
    """Return a note about class names that differ only in case and spaces; often they are one
    class. Single letters are ignored, because ``A`` and ``a`` are different characters."""
    by_key: dict[str, list[str]] = {}
    for name in names:
        key = "".join(name.casefold().replace("_", " ").split())
        by_key.setdefault(key if len(key) > 1 else name, []).append(name)
    alike = [" and ".join(map(repr, same)) for same in by_key.values() if len(same) > 1]
    if not alike:
        return []
    more = f", and {len(alike) - 5:,} more" if len(alike) > 5 else ""
    return [
        f"{'; '.join(alike[:5])}{more} are treated as different classes. If they are one class, "
        "give them one name"
    ]


def class_name(name: str) -> str:
    """Return a class name for display: composed Unicode, with � for bytes that are not text."""
    return unicodedata.normalize(
        "NFC", name.encode(errors="surrogateescape").decode(errors="replace")
    )


def counted(count: int, word: str) -> str:
    """Return for example ``1 picture`` or ``2,000 pictures``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
