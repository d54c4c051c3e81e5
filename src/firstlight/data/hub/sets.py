"""Data sets of the hub on this machine. They are fetched whole into the hub's own cache, and found
there again."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from firstlight.data.hub.card import read_card
from firstlight.data.hub.chosen import FOLDER, Chosen, chosen
from firstlight.errors import DataError, UserError
from firstlight.hub.commits import CARD, Commit, commit_of, keep, listed
from firstlight.hub.fetching import Fetching
from firstlight.hub.library import HubRefusedError, hub_cache, kept_in
from firstlight.hub.word import HubWord, hub_word, is_hub

CONVERTED = "refs/convert/parquet"
"""The branch where the hub stores its Parquet copy of each data set."""
MANY = 2000
"""With more picture files in folders, the hub's own copy is used, because fetching them one by one
is slow."""
_AT_ONCE = 8
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file on this machine."""

    name: str
    """The path in the repository, with slashes."""
    path: Path
    part: str


@dataclass(frozen=True, kw_only=True)
class HubSet:
    """A data set of the hub with all of its files on this machine."""

    word: HubWord
    """The data set's address, with the commit."""
    kind: str
    """``parquet`` or ``folder``."""
    files: tuple[HubFile, ...]
    features: Mapping[str, Any]
    """What the card says about the columns."""
    folder: Path
    """The commit's folder in the hub's cache."""
    notes: tuple[str, ...]
    """Messages: what was left out."""

    @property
    def origin(self) -> str:
        """Where it came from, as text."""
        return f"from the Hugging Face hub: {self.word}"


_FOUND: dict[tuple[str, Path], HubSet] = {}


def hub_set(
    word: str | Path,
    *,
    connect: bool = True,
    quiet: bool = True,
    progress: Progress | None = None,
) -> HubSet:
    """Return the data set with this name. It is fetched if it is not on this machine, and the hub
    is asked once per process.

    Without ``connect``, no connection is made. ``progress`` receives how many files are here.
    Raises ``UserError`` for a badly written name and without huggingface_hub, ``DataError`` for a
    data set that does not exist, has restricted access, or has no readable pictures, and
    ``UnreachableError`` if it is not complete on this machine and there is no connection.
    """
    named = hub_word(word)
    key = str(named), hub_cache()
    if key not in _FOUND:
        found = _found(named, connect, quiet, progress)
        _FOUND[key] = _FOUND[str(found.word), hub_cache()] = found
    return _FOUND[key]


def is_here(word: str | Path) -> bool:
    """Return whether the whole data set is on this machine."""
    try:
        hub_set(word, connect=False)
    except (DataError, UserError):
        return False
    return True


def _found(word: HubWord, connect: bool, quiet: bool, progress: Progress | None) -> HubSet:
    commit = commit_of(word, connect)
    commit, picked = _picked(commit, word, connect, quiet)
    wanted = list(picked.part_of)
    fetch = Fetching(commit, connect, quiet)
    missing = [name for name in wanted if not fetch.is_here(name)]
    if progress is not None and missing and connect:
        progress(0, len(missing))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, _ in enumerate(pool.map(fetch, missing), start=1):
            if progress is not None:
                progress(done, len(missing))
    card = _card(commit, connect, quiet)
    pinned = replace(word, revision=commit.word.revision)
    return HubSet(
        word=pinned,
        kind=picked.kind,
        files=tuple(
            HubFile(name=name, path=fetch.place(name), part=picked.part_of[name]) for name in wanted
        ),
        features=card.features.get(picked.configuration, {}),
        folder=kept_in("dataset", word.repository) / "snapshots" / commit.word.revision,
        notes=(*commit.notes, *picked.notes),
    )


def _picked(commit: Commit, word: HubWord, connect: bool, quiet: bool) -> tuple[Commit, Chosen]:
    """Choose the files from this commit or from the hub's Parquet copy; return the commit too."""
    picked = chosen(commit.files, _card(commit, connect, quiet), word)
    many = picked is not None and picked.kind == FOLDER and len(picked.part_of) > MANY
    if picked is not None and not many:
        return commit, picked
    if connect and not word.is_pinned and word.revision != CONVERTED:
        other = _converted(word, quiet)
        if other is not None and not (picked is not None and other[1].is_partial):
            return other
    if picked is not None:
        return commit, picked
    names = sorted(commit.files)[:6]
    raise DataError(
        f"{word}: wanted a data set of pictures as Parquet or as one folder per class; got "
        f"{', '.join(names) or 'no files'}{', …' if len(commit.files) > 6 else ''}. To use the "
        "datasets library instead: fl.from_dataset(datasets.load_dataset(...))"
    )


def _converted(word: HubWord, quiet: bool) -> tuple[Commit, Chosen] | None:
    """Return the hub's Parquet copy, if it has one."""
    try:
        commit = listed(replace(word, revision=CONVERTED))
    except HubRefusedError:
        return None
    picked = chosen(commit.files, _card(commit, True, quiet), word)
    if picked is None:
        return None
    keep(word, commit)
    note = f"{word}: uses the Parquet files that the hub made from it"
    return replace(commit, notes=(*commit.notes, note)), picked


def _card(commit: Commit, connect: bool, quiet: bool) -> Any:
    if CARD not in commit.files:
        return read_card(b"")
    return read_card(Fetching(commit, connect, quiet)(CARD).read_bytes())


def hub_folder(word: str | Path) -> Path | None:
    """Return the folder with the pictures of a data set of the hub, if they are files in folders;
    None for others, and for words that do not name one. Raises what ``hub_set`` raises."""
    if not is_hub(word):
        return None
    found = hub_set(word)
    return found.folder if found.kind == FOLDER else None
