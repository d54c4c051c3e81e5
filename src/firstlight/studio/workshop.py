"""The working folder of the studio: everything that it writes is inside."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workshop:
    """A working folder, by the names of its parts. None of them needs to exist."""

    root: Path
    """Absolute."""

    @property
    def runs(self) -> Path:
        """Run folders, as ``firstlight train`` makes them here."""
        return self.root / "runs"

    @property
    def trainings(self) -> Path:
        """A folder for each training that was asked for: what was wanted, and how far it is."""
        return self.root / "trainings"

    @property
    def pictures(self) -> Path:
        """Sets of pictures that were collected in the page: a folder for each, with a folder for
        each class."""
        return self.root / "pictures"

    @property
    def fixes(self) -> Path:
        """A CSV of corrections for each set of pictures."""
        return self.root / "fixes"

    @property
    def checks(self) -> Path:
        """What was found in each set of pictures that was checked."""
        return self.root / "checks"
