"""Fetch the files of a commit into the hub's own cache, and find them there again."""

from pathlib import Path

from firstlight.errors import DataError, UnreachableError
from firstlight.hub.commits import Commit, refused
from firstlight.hub.library import ABSENT, GATED, HubRefusedError, download, kept_in


class Fetching:
    """Provides the files of a commit on this machine, in the hub's own cache."""

    def __init__(self, commit: Commit, connect: bool, quiet: bool) -> None:
        self._commit, self._connect, self._quiet = commit, connect, quiet
        word = commit.word
        self._folder = kept_in(word.kind, word.repository) / "snapshots" / word.revision

    def place(self, name: str) -> Path:
        """Return where the hub's library puts a file."""
        return self._folder.joinpath(*name.split("/"))

    def is_here(self, name: str) -> bool:
        """Return whether the complete file is there."""
        path, size = self.place(name), self._commit.files[name]
        return path.is_file() and size in (-1, path.stat().st_size)

    def __call__(self, name: str) -> Path:
        """Return the file; fetch it if it is missing or incomplete."""
        word, size = self._commit.word, self._commit.files[name]
        if self.is_here(name):
            return self.place(name)
        if not self._connect:
            raise UnreachableError(f"{word}: {name} is not on this machine, and downloads are off")
        try:
            path = download(word.repository, name, word.revision, kind=word.kind, quiet=self._quiet)
        except HubRefusedError as error:
            if error.kind in (ABSENT, GATED):
                raise refused(word, error) from error
            raise UnreachableError(
                f"{word}: {name} could not be fetched ({error}). Check the connection; the part "
                "that was fetched is kept"
            ) from error
        if size not in (-1, path.stat().st_size):
            raise DataError(
                f"{word}: {name} has {path.stat().st_size:,} bytes, but {size:,} are published. "
                f"Remove {path} and start again"
            )
        return path
