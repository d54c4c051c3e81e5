"""Runs of the Hugging Face hub: ``hf:OWNER/NAME``, pinned to a commit.

The files of a run, and no others, are fetched into the hub's own cache. A command may write into a
run's folder, so each commit is copied into firstlight's cache, and is a run folder like any other
there. Nothing that is fetched is executed: weights are safetensors, the rest is text.
"""

from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import DataError
from firstlight.files import cache_folder, write_whole
from firstlight.hub.commits import Commit, commit_of
from firstlight.hub.fetching import Fetching
from firstlight.hub.word import HubWord, model_word
from firstlight.layers.own_code import COPY
from firstlight.plain import write_json
from firstlight.runs.box import copy_files

WEIGHTS = "model.safetensors"
NEEDED = ("recipe.toml", WEIGHTS, "summary.json", "data.json")
"""Without these a repository is no run."""
FILES = (*NEEDED, "environment.json", "epochs.csv", "metrics.json", "robustness.json", COPY)
"""What is published of a run, beside its card, and all that is fetched."""
SOURCE = "hub.json"
"""In a copy: the word with its commit."""
_WRITTEN_ANEW = ("metrics.json", "robustness.json")
"""What a command about the run replaces in the copy."""
_MOST_TEXT = 64 * 2**20
"""Bytes of a file that is not the weights."""


@dataclass(frozen=True, kw_only=True)
class HubRun:
    """A run of the hub on this machine."""

    folder: Path
    """A copy in the cache."""
    word: HubWord
    """With its commit."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was found."""


_FOUND: dict[tuple[str, Path], HubRun] = {}


def hub_run(word: str | Path, *, connect: bool = True) -> HubRun:
    """The run that ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION`` names, fetched where it is not
    here yet; asked for once in a process.

    A word with a commit opens no connection once the run is here; another asks the hub which commit
    it is now. Without ``connect`` none is opened. Raises ``UserError`` for a word that is badly
    written and where huggingface_hub is needed and not installed, ``DataError`` for a repository
    that is not there, is given only to some, or is no run, and ``UnreachableError`` where there is
    no connection and the run is not here.
    """
    named = model_word(word)
    key = str(named), cache_folder()
    if key not in _FOUND or not _FOUND[key].folder.is_dir():
        found = _copied(named, connect)
        _FOUND[key] = _FOUND[str(found.word), cache_folder()] = found
    return _FOUND[key]


def _copied(named: HubWord, connect: bool) -> HubRun:
    commit = commit_of(named, connect)
    there = [name for name in FILES if name in commit.files]
    _check(named, commit, there)
    repository = commit.word.repository.replace("/", "--")
    folder = cache_folder() / "runs" / f"{repository}@{commit.word.revision}" / named.name
    found = HubRun(folder=folder, word=commit.word, notes=commit.notes)
    if all(_is_whole(folder / name, commit.files[name]) for name in there):
        return found
    fetch = Fetching(commit, connect, quiet=False)
    contents = {name: fetch(name).read_bytes() for name in there}
    contents[SOURCE] = f"{write_json({'word': str(commit.word)})}\n".encode()
    try:
        if not folder.is_dir():
            copy_files(contents, folder)
        for name in there:
            if not _is_whole(folder / name, commit.files[name]):
                write_whole(folder / name, contents[name])
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written: {error.strerror}. Free some disk space, or set "
            "XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return found


def _check(named: HubWord, commit: Commit, there: list[str]) -> None:
    """Raise ``DataError`` unless a commit holds a run."""
    if missing := [name for name in NEEDED if name not in there]:
        names = sorted(commit.files)
        listed = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        raise DataError(
            f"{named}: not a run of firstlight: it has no {' and no '.join(missing)}; got "
            f"{listed or 'no files'}. Runs are published with: firstlight push RUN OWNER/NAME"
        )
    for name in there:
        if name != WEIGHTS and commit.files[name] > _MOST_TEXT:
            raise DataError(
                f"{named}: {name} has {commit.files[name]:,} bytes; no run of firstlight has so "
                "large a one"
            )


def _is_whole(path: Path, size: int) -> bool:
    """Whether a file of the copy is there; of its published size, where it stays as it was."""
    if not path.is_file():
        return False
    return size == -1 or path.name in _WRITTEN_ANEW or path.stat().st_size == size
