"""Find the commit of a repository on the hub, and its files.

What the hub says about a commit's files is stored in ``hub`` in firstlight's cache. They never
change, so a name with a commit needs no connection once they are here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.files import cache_folder, make_folder, write_whole
from firstlight.hub.library import ABSENT, GATED, HubRefusedError, kept_in, listing
from firstlight.hub.word import DATASET, MODEL, HubWord

CARD = "README.md"
_OF_SEVERAL = re.compile(r"-(\d{5,})-of-(\d{5,})\.parquet$")


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A repository as it was at one moment."""

    word: HubWord
    """The name, with the commit as its revision."""
    files: Mapping[str, int]
    """The files and their sizes in bytes; -1 if unknown."""
    notes: tuple[str, ...] = ()


def commit_of(word: HubWord, connect: bool) -> Commit:
    """Return the commit of a name's revision, from the hub, or from the caches if that is enough or
    the hub does not respond."""
    known = _known(word)
    if known is not None and (word.is_pinned or not connect):
        return known
    reason = ""
    if connect:
        try:
            found = listed(word)
            keep(word, found)
            return found
        except UserError as error:
            if known is None:
                raise
            reason = str(error)
        except HubRefusedError as error:
            if error.kind in (ABSENT, GATED):
                raise refused(word, error) from error
            reason = str(error)
    if known is None:
        known = _in_hubs_cache(word)
    if known is None:
        why = f" ({reason})" if reason else ""
        raise UnreachableError(
            f"{word}: is not complete on this machine, and the hub was not reached{why}. Check "
            f"the connection and {'train on' if word.kind == DATASET else 'open'} it once"
        )
    if reason:
        note = (
            f"{word}: the hub was not reached ({reason}); using its latest commit on this machine"
        )
        return replace(known, notes=(note,))
    return known


def listed(word: HubWord) -> Commit:
    commit, files = listing(word.repository, word.revision or "main", word.kind)
    return Commit(word=replace(word, revision=commit), files=files)


def refused(word: HubWord, error: HubRefusedError) -> DataError:
    if error.kind == GATED:
        return DataError(
            f"{word}: is only available after you accept its conditions. Accept them at "
            f"{word.page}, then log in: hf auth login, or set HF_TOKEN"
        )
    return DataError(
        f"{word}: the hub has no such {word.what} or revision, or it is private ({error}). See "
        f"{word.page}; to log in: hf auth login, or set HF_TOKEN"
    )


def _place(word: HubWord, revision: str) -> Path:
    shelf = cache_folder() / "hub"
    name = re.sub(r"[^\w.-]", "--", f"{word.repository}@{revision}")
    return (shelf if word.kind == DATASET else shelf / "models") / f"{name}.json"


def keep(word: HubWord, commit: Commit) -> None:
    """Store a commit's files, and the commit of a branch."""
    found = commit.word.revision
    place = _place(word, found)
    try:
        make_folder(place.parent)
        write_whole(place, json.dumps({"commit": found, "files": commit.files}))
        if not word.is_pinned:
            told = json.dumps({"commit": found})
            write_whole(_place(word, word.revision or "main"), told)
    except OSError as error:
        raise DataError(
            f"{place.parent}: cannot be written: {error.strerror}. Free some disk space, or set "
            "XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _known(word: HubWord) -> Commit | None:
    """Return what was stored about the name's revision."""
    try:
        told = json.loads(_place(word, word.revision or "main").read_text())
        commit = str(told["commit"])
        if "files" not in told:
            told = json.loads(_place(word, commit).read_text())
        files = {str(name): int(size) for name, size in told["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Commit(word=replace(word, revision=commit), files=files)


def _in_hubs_cache(word: HubWord) -> Commit | None:
    """Return a commit that the hub's own library fetched. For a data set, the file names must show
    that none is missing: all are numbered Parquet files."""
    folder, commit = kept_in(word.kind, word.repository), word.revision
    if not word.is_pinned:
        try:
            commit = (folder / "refs" / (word.revision or "main")).read_text().strip()
        except (OSError, ValueError):
            return None
    place = folder / "snapshots" / commit
    try:
        names = [one.relative_to(place).as_posix() for one in place.rglob("*") if one.is_file()]
    except OSError:
        return None
    pinned = replace(word, revision=commit)
    if word.kind == MODEL:
        return Commit(word=pinned, files=dict.fromkeys(names, -1)) if names else None
    parquet = [one for one in names if one.endswith(".parquet")]
    series = dict[tuple[str, str], set[str]]()
    for one in parquet:
        found = _OF_SEVERAL.search(one)
        if found is None:
            return None
        series.setdefault((one[: found.start()], found[2]), set()).add(found[1])
    if not parquet or any(len(numbers) != int(of) for (_, of), numbers in series.items()):
        return None
    files = {one: -1 for one in names if one in parquet or one == CARD}
    return Commit(word=pinned, files=files)
