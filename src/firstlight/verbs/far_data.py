"""Data at addresses: which connections are opened for it, and what is fetched before it is read."""

import sys

from firstlight.data.archive_address import (
    archive_address,
    fetched_archive,
    is_archive_address,
    pinned,
)
from firstlight.data.hub.sets import hub_set
from firstlight.data.shards.files import is_address, whole_place
from firstlight.data.shards.held import is_remembered, remember
from firstlight.errors import UnreachableError
from firstlight.hub.word import is_hub
from firstlight.progress import CountingBar, DownloadBar

_ONLY_A_RUN = (
    "firstlight does not connect to an address that only a run folder names. Name it as DATA "
    "after the run"
)


def have_here(name: str, *, named: bool, quiet: bool) -> None:
    """Have on this machine what a word names, where that is fetched as a whole.

    ``named`` says that a person named it now. Raises ``UnreachableError`` for an address that only
    a run's folder names, and nobody here has named before, unless it is here already; else as
    ``hub_set`` and ``fetched_archive`` do.
    """
    if not is_address(name):
        return
    known = archive_address(name).url if is_archive_address(name) else name
    connect = named or is_remembered(known)
    try:
        if is_hub(name):
            known = _of_hub(name, connect, quiet)
        elif is_archive_address(name):
            with DownloadBar(quiet=quiet) as bar:
                fetched_archive(name, connect=connect, report=bar)
        elif not connect:
            raise UnreachableError(f"the data is at {name}")
    except UnreachableError as error:
        if connect:
            raise
        raise UnreachableError(f"{error}; {_ONLY_A_RUN}") from error
    if named:
        remember(known)


def _of_hub(name: str, connect: bool, quiet: bool) -> str:
    """The data set with its commit."""
    # On a terminal the hub's library has a bar of its own, of bytes.
    with CountingBar("fetching", "files", quiet=quiet or sys.stderr.isatty()) as bar:
        return str(hub_set(name, connect=connect, quiet=quiet, progress=bar).word)


def exact_place(name: str) -> str:
    """Where data lies, from the root on; with the sum or the commit of what is fetched as a
    whole."""
    return pinned(name) if is_archive_address(name) else whole_place(name)
