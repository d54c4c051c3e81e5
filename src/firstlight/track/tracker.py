"""What a tracker is: the protocol that each one follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Setting = str | int | float | bool

PROJECT = "firstlight"
"""What runs are filed under, where the tracker's own environment variable does not say it."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The run that a tracker is to copy."""

    name: str
    """That of the run's folder."""
    folder: Path
    """The run's folder; a tracker writes nothing into it."""
    key: str = ""
    """What ``Tracker.key`` was before, to continue the same run of the tracker; empty for a new
    one."""


class Tracker(Protocol):
    """Copies one run to one place. Made of an ``Opening``; any method may raise anything."""

    key: str
    """What continues this run of the tracker later."""
    where: str
    """Where a person sees it, as the end of a line; may be empty."""

    def settings(self, values: Mapping[str, Setting]) -> None:
        """All hyper-parameters by name; again where one has changed."""

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """What one epoch reached, by name."""

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        """What the run reached in the end, by name; ``epoch`` is its last."""

    def picture(self, name: str, path: Path, epoch: int) -> None:
        """A PNG."""

    def file(self, path: Path) -> None:
        """A file of the run, such as its model. A tracker that keeps no files does nothing."""

    def flush(self) -> None:
        """Called after a few of the others: what was given can be seen from now on."""

    def end(self, finished: bool) -> None:
        """Nothing more comes now; not ``finished`` where the training was stopped."""
