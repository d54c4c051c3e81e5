"""The Hugging Face hub, reached through its own library alone (extra ``hub``).

Its cache is also read without that library; a file there is under the name of its repository and
its commit.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Any

from firstlight.errors import DataError
from firstlight.files import STORAGE
from firstlight.packages import imported

EXTRA = "'firstlight[hub]'"
ABSENT, GATED, UNREACHABLE = "absent", "gated", "unreachable"
_ABSENT = {"RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"}


class HubRefusedError(Exception):
    """The hub did not give what was asked for; the message is the reason in one line."""

    def __init__(self, error: Exception) -> None:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        super().__init__(reason)
        kinds = {one.__name__ for one in type(error).__mro__}
        self.kind = UNREACHABLE
        """``absent``, ``gated`` or ``unreachable``."""
        if "GatedRepoError" in kinds:
            self.kind = GATED
        elif kinds & _ABSENT:
            self.kind = ABSENT


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it fetched, by the same environment variables."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if given := os.environ.get(name):
            return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "hub"


def kept_in(kind: str, repository: str) -> Path:
    """The folder of its cache for a repository; ``kind`` is ``model`` or ``dataset``."""
    return hub_cache() / f"{kind}s--{repository.replace('/', '--')}"


def need_library(purpose: str) -> Any:
    """huggingface_hub. Raises ``UserError``, which begins with ``purpose``, where it is not
    installed."""
    return imported("huggingface_hub", purpose, EXTRA)


def download(
    repository: str, file: str, revision: str, *, kind: str = "model", quiet: bool = False
) -> Path:
    """A file of a repository at a commit, in the hub's cache; resumed where a part of it is there.

    Raises ``UserError`` where huggingface_hub is not installed, ``HubRefusedError`` where the hub
    does not give it, and ``DataError`` where the storage takes no more.
    """
    tool = need_library("fetching from the hub")
    utils = imported("huggingface_hub.utils", "fetching from the hub", EXTRA)
    utils.logging.set_verbosity_error()  # it would tell of each attempt
    if quiet or (kind == "dataset" and not sys.stderr.isatty()):
        utils.disable_progress_bars()
    try:
        return Path(tool.hf_hub_download(repository, file, revision=revision, **_more(kind)))
    except OSError as error:  # also the hub's own errors of connection
        if error.errno in STORAGE or error.errno in (errno.EACCES, errno.EPERM):
            raise DataError(
                f"{hub_cache()}: cannot be written: {error.strerror}. Free some disk space, or "
                "set HF_HOME to another folder"
            ) from error
        raise HubRefusedError(error) from error
    except Exception as error:  # what its HTTP library raises is its own affair
        raise HubRefusedError(error) from error


def _more(kind: str) -> dict[str, Any]:
    if kind == "model":
        return {}
    place = {"repo_type": kind, "cache_dir": hub_cache()}
    return place if (endpoint := _endpoint()) is None else {**place, "endpoint": endpoint}


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def listing(repository: str, revision: str) -> tuple[str, dict[str, int]]:
    """The commit of a data set's revision, and its files with their sizes in bytes.

    Raises as ``download`` does.
    """
    tool = need_library(f"hf:{repository}")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise HubRefusedError(ConnectionError("HF_HUB_OFFLINE is set"))
    try:
        api = tool.HfApi(endpoint=_endpoint())
        commit = str(api.dataset_info(repository, revision=revision).sha)
        tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
        # Folders have no size.
        return commit, {one.path: int(one.size) for one in tree if hasattr(one, "size")}
    except Exception as error:  # what its HTTP library raises is its own affair
        raise HubRefusedError(error) from error
