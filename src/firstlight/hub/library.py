"""The Hugging Face hub, reached only through its own library (extra ``hub``).

Its cache can be read without that library. A file there is stored under its repository and commit.
"""

import errno
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firstlight.errors import DataError, UserError
from firstlight.files import STORAGE
from firstlight.packages import imported

EXTRA = "'firstlight[hub]'"
ABSENT, GATED, FORBIDDEN, UNREACHABLE = "absent", "gated", "forbidden", "unreachable"
_ABSENT = {"RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"}


class HubRefusedError(Exception):
    """The hub refused a request; the message is the reason in one line."""

    def __init__(self, error: Exception) -> None:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        super().__init__(reason)
        kinds = {one.__name__ for one in type(error).__mro__}
        self.kind = UNREACHABLE
        """``absent``, ``gated``, ``forbidden`` or ``unreachable``."""
        status = getattr(getattr(error, "response", None), "status_code", None)
        if "GatedRepoError" in kinds:
            self.kind = GATED
        elif kinds & _ABSENT:
            self.kind = ABSENT
        elif status in (401, 403):
            self.kind = FORBIDDEN


def hub_cache() -> Path:
    """Return the cache folder of huggingface_hub, from the same environment variables."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if given := os.environ.get(name):
            return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "hub"


def kept_in(kind: str, repository: str) -> Path:
    """Return its cache folder for a repository; ``kind`` is ``model`` or ``dataset``."""
    return hub_cache() / f"{kind}s--{repository.replace('/', '--')}"


def need_library(purpose: str) -> Any:
    """Return huggingface_hub. Raises ``UserError``, whose message begins with ``purpose``, if it is
    not installed."""
    return imported("huggingface_hub", purpose, EXTRA)


def download(
    repository: str, file: str, revision: str, *, kind: str = "model", quiet: bool = False
) -> Path:
    """Download a file of a repository at a commit into the hub's cache, or resume a download.

    Raises ``UserError`` without huggingface_hub, ``HubRefusedError`` if the hub refuses, and
    ``DataError`` if the disk is full.
    """
    tool = need_library("fetching from the hub")
    _silence(quiet or (kind == "dataset" and not sys.stderr.isatty()))
    place = {"repo_type": kind, "cache_dir": hub_cache(), "endpoint": _endpoint()}
    try:
        return Path(tool.hf_hub_download(repository, file, revision=revision, **place))
    except OSError as error:  # also the hub's own errors of connection
        if error.errno in STORAGE or error.errno in (errno.EACCES, errno.EPERM):
            raise DataError(
                f"{hub_cache()}: cannot be written: {error.strerror}. Free some disk space, or "
                "set HF_HOME to another folder"
            ) from error
        raise HubRefusedError(error) from error
    except Exception as error:  # what its HTTP library raises is its own affair
        raise HubRefusedError(error) from error


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def listing(repository: str, revision: str, kind: str) -> tuple[str, dict[str, int]]:
    """Return the commit of a repository's revision, and its files with their sizes in bytes.

    Raises what ``download`` raises.
    """
    with _asking(f"hf:{repository}") as api:
        commit = str(api.repo_info(repository, revision=revision, repo_type=kind).sha)
        tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type=kind)
        # Folders have no size.
        return commit, {one.path: int(one.size) for one in tree if hasattr(one, "size")}


def open_repository(repository: str, *, private: bool) -> list[str]:
    """Return the files of a model's repository. Create it if there is none.

    Raises ``UserError`` if the user is not logged in, and what ``download`` raises.
    """
    with _asking(f"hf:{repository}") as api:
        if need_library("").get_token() is None:
            raise UserError(
                f"hf:{repository}: to write to the hub, log in first: hf auth login, or set "
                "HF_TOKEN to a token with write access"
            )
        api.create_repo(repository, private=private, exist_ok=True)
        return list(api.list_repo_files(repository))


def commit(
    repository: str, files: Mapping[str, bytes | Path], removed: Collection[str], message: str
) -> str:
    """Write files into a model's repository and remove others, in one commit; return its hash.
    Either everything changes or nothing. Raises what ``download`` raises."""
    with _asking(f"hf:{repository}") as api:
        tool = need_library("")
        changes = [
            *(tool.CommitOperationAdd(name, content) for name, content in files.items()),
            *(tool.CommitOperationDelete(name) for name in removed),
        ]
        return str(api.create_commit(repository, changes, commit_message=message).oid)


@contextmanager
def _asking(purpose: str) -> Iterator[Any]:
    """Return the hub's interface with its library's output silenced. Its errors are raised as
    ``HubRefusedError``."""
    tool = need_library(purpose)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise HubRefusedError(ConnectionError("HF_HUB_OFFLINE is set"))
    _silence(not sys.stderr.isatty())
    try:
        yield tool.HfApi(endpoint=_endpoint())
    except UserError:
        raise
    except Exception as error:  # what its HTTP library raises is its own affair
        raise HubRefusedError(error) from error


def _silence(bars: bool) -> None:
    utils = imported("huggingface_hub.utils", "the hub", EXTRA)
    utils.logging.set_verbosity_error()  # it would report each attempt
    if bars:
        utils.disable_progress_bars()
