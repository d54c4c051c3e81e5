"""Data at addresses: which connections are allowed, and what is downloaded before reading."""

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
    """Download the data at an address to this machine, if it is downloaded as a whole.

    ``named`` is whether the user named it in this call. Raises ``UnreachableError`` for an address
    that only a run's folder names and that no user named here before, unless the data is here
    already; also raises as ``hub_set`` and ``fetched_archive`` do.
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
    """Return the data set's address with its commit."""
    # In a terminal the hub's library shows its own progress bar, in bytes.
    with CountingBar("fetching", "files", quiet=quiet or sys.stderr.isatty()) as bar:
        return str(hub_set(name, connect=connect, quiet=quiet, progress=bar).word)


def exact_place(name: str) -> str:
    """Return the absolute location of data; with the checksum or commit of data downloaded as a
    whole."""
    return pinned(name) if is_archive_address(name) else whole_place(name)
