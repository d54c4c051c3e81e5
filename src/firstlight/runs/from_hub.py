"""Runs on the Hugging Face hub: ``hf:OWNER/NAME``, pinned to a commit.

Only the files of a run are downloaded, into the hub's own cache. Commands may write into a run's
folder, so each commit is copied into firstlight's cache, where it is an ordinary run folder.
Nothing downloaded is executed: weights are safetensors, everything else is text.
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
"""Files that a repository must have to be a run."""
FILES = (*NEEDED, "environment.json", "epochs.csv", "metrics.json", "robustness.json", COPY)
"""The files of a run that are published, apart from its model card, and that are downloaded."""
SOURCE = "hub.json"
"""In a copy: its ``hf:`` address with the commit."""
_WRITTEN_ANEW = ("metrics.json", "robustness.json")
"""Files in the copy that commands may replace."""
_MOST_TEXT = 64 * 2**20
"""Most bytes in a file other than the weights."""


@dataclass(frozen=True, kw_only=True)
class HubRun:
    """A run from the hub, on this machine."""

    folder: Path
    """Its copy in the cache."""
    word: HubWord
    """Its address, with the commit."""
    notes: tuple[str, ...] = ()
    """Notes for the user about how the run was found."""


_FOUND: dict[tuple[str, Path], HubRun] = {}


def hub_run(word: str | Path, *, connect: bool = True) -> HubRun:
    """Return the run at ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``, downloaded if necessary.
    The hub is asked once per process.

    An address with a commit opens no connection if the run is already here; any other address asks
    the hub for the current commit. With ``connect=False`` no connection is opened. Raises
    ``UserError`` for a malformed address, and if huggingface_hub is needed but not installed;
    ``DataError`` if the repository does not exist, is not accessible, or is not a run; and
    ``UnreachableError`` if there is no connection and the run is not here.
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
    """Raise ``DataError`` unless the commit contains a run."""
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
    """Whether a file of the copy exists and, if commands do not replace it, has its published
    size."""
    if not path.is_file():
        return False
    return size == -1 or path.name in _WRITTEN_ANEW or path.stat().st_size == size
