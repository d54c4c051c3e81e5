"""Publish a run on the Hugging Face hub, in one commit.

The published files say how to build, feed and judge the network. They contain no picture, no name
of a picture, and no path on this machine: ``published`` describes what remains of each file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from firstlight import __version__
from firstlight.backbones import is_backbone
from firstlight.data.catalog import CATALOG
from firstlight.errors import UnreachableError, UserError
from firstlight.hub.commits import CARD
from firstlight.hub.library import UNREACHABLE, HubRefusedError, commit, open_repository
from firstlight.hub.word import HubWord, is_hub, model_word
from firstlight.layers.own_code import COPY
from firstlight.plain import write_json
from firstlight.recipe import Recipe
from firstlight.runs.box import MEASURED
from firstlight.runs.checkpoint import load_architecture
from firstlight.runs.folder import RunFolder
from firstlight.runs.from_hub import FILES, WEIGHTS
from firstlight.untrusted import json_safe
from firstlight.verbs.card import card

_ENVIRONMENT = (
    *("firstlight", "python", "torch", "numpy", "platform", "processor"),
    *("device", "accelerator", "cuda", "cudnn", "driver", "float32"),
    *("threads", "waiting", "started"),
)
_HUBS_OWN = (".gitattributes", CARD)


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A run that is now on the hub."""

    word: str
    """``hf:OWNER/NAME@COMMIT``, which opens it."""
    page: str
    """The address of its web page."""
    files: tuple[str, ...]
    size: int
    """Total bytes of all files."""
    measured: bool
    """Whether the card has test-set figures."""


def push(
    folder: RunFolder,
    repository: str,
    *,
    public: bool = False,
    license: str | None = None,  # noqa: A002
) -> Pushed:
    """Publish a finished run as ``OWNER/NAME``, private unless ``public``. An existing repository
    keeps its visibility, and files of an earlier run in it are replaced.

    Raises ``UserError`` for an invalid name, for an unfinished run, for a repository with other
    content, and if the user is not logged in or may not write there; ``DataError`` for a damaged
    run; and ``UnreachableError`` if the hub does not answer. The hub is then unchanged.
    """
    word = _named(repository)
    folder.require_finished()
    load_architecture(folder.path / WEIGHTS)  # raises for a damaged file
    files = published(folder)
    text = card(folder, place=str(word), license=license)
    try:
        there = open_repository(word.repository, private=not public)
        known = {*FILES, *_HUBS_OWN}
        if others := [name for name in there if name not in known]:
            raise UserError(
                f"{word}: holds other files ({', '.join(others[:4])}{', …' if others[4:] else ''}) "
                "and is not a run of firstlight. Choose another name"
            )
        found = commit(
            word.repository,
            {**files, CARD: text.encode()},
            [name for name in there if name not in (*files, *_HUBS_OWN)],
            f"{folder.name}, trained with firstlight {__version__}",
        )
    except HubRefusedError as error:
        raise _refused(word, error) from error
    sizes = [len(one) if isinstance(one, bytes) else one.stat().st_size for one in files.values()]
    return Pushed(
        word=str(replace(word, revision=found)),
        page=word.page,
        files=(*files, CARD),
        size=sum(sizes) + len(text.encode()),
        measured="metrics.json" in files,
    )


def _named(repository: str) -> HubWord:
    given = repository if is_hub(repository) else f"hf:{repository}"
    try:
        word = model_word(given)
    except UserError as error:
        raise UserError(f"{repository}: wanted OWNER/NAME, such as ann/my-digits") from error
    if word.revision:
        raise UserError(f"{repository}: a run is published as a new commit; leave out @")
    return word


def _refused(word: HubWord, error: HubRefusedError) -> UserError:
    if error.kind == UNREACHABLE:
        return UnreachableError(
            f"{word}: the hub was not reached, or did not take the files ({error}). Nothing was "
            "published; try again"
        )
    return UserError(
        f"{word}: the hub does not let you write there ({error}). OWNER must be your user name or "
        "an organization of yours, and your token must have write access: hf auth login, or set "
        "HF_TOKEN"
    )


def published(folder: RunFolder) -> dict[str, bytes | Path]:
    """Return the published files of a run by name: their content, or where they are.

    Weights, figures and the source of the network's code are unchanged. ``environment.json`` loses
    the command, ``data.json`` all names of places and pictures, and ``recipe.toml`` the folders
    above the run that it started from. Raises ``DataError`` for a damaged run.
    """
    recipe = folder.recipe()
    files: dict[str, bytes | Path] = {
        "recipe.toml": _portable(recipe).to_toml().encode(),
        WEIGHTS: folder.path / WEIGHTS,
        "data.json": _json(_placeless(folder.read_json("data.json"), folder)),
    }
    for name in ("summary.json", "environment.json", "metrics.json", "robustness.json"):
        there = name
        if name == "metrics.json" and (folder.path / MEASURED).is_file():
            there = MEASURED  # for a model in the box
        if (folder.path / there).is_file():
            values = folder.read_json(there)
            if name == "environment.json":
                with folder.trusted():
                    values = {key: values[key] for key in _ENVIRONMENT if key in values}
            files[name] = _json(values)
    for name in ("epochs.csv", *((COPY,) if recipe.network.code is not None else ())):
        if (folder.path / name).is_file():
            files[name] = folder.read(name).encode()
    return files


def _json(values: Any) -> bytes:
    return f"{json_safe(write_json(values, indent=2))}\n".encode()


def _portable(recipe: Recipe) -> Recipe:
    """Return the recipe with only the name of the run that it started from."""
    begun = recipe.train.start_from
    if not begun or is_hub(begun) or is_backbone(begun):
        return recipe
    return replace(recipe, train=replace(recipe.train, start_from=_name(begun)))


def _placeless(described: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return ``data.json`` with only public facts: names of data sets and hub addresses are kept,
    of other places only the last part; notes and names of pictures are removed."""
    with folder.trusted():
        name, path = described["name"], described.get("path")
        watched = described.get("validated_on")
        changed: dict[str, Any] = {
            "name": _name(name),
            "path": path if path is not None and is_hub(path) else None,
            "relative": None,
            "excluded": [],
            "relabelled": {},
            "notes": [],
            "validated_on": watched and {**watched, "name": _part(watched["name"])},
        }
        return {**described, **changed}


def _name(word: str) -> str:
    """Return the last part of a path or an address, without a query."""
    if word in CATALOG or is_hub(word):
        return word
    plain = word.partition("?")[0].partition("#")[0].replace("\\", "/").rstrip("/")
    return plain.rpartition("/")[2] or "pictures"


def _part(name: str) -> str:
    """Return ``photos/train, held out`` without its location."""
    head, _, part = name.rpartition("/")
    return f"{_name(head)}/{part}" if head else part
