"""The protocol that each tracker follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Setting = str | int | float | bool

PROJECT = "firstlight"
"""Project of the runs, unless the tracker's own environment variable sets one."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The run that a tracker copies."""

    name: str
    """Name of the run's folder."""
    folder: Path
    """The run's folder; a tracker never writes into it."""
    key: str = ""
    """An earlier ``Tracker.key``, to continue the same run of the tracker; empty for a new one."""


class Tracker(Protocol):
    """Copies one run to one place. Created from an ``Opening``; any method may raise anything."""

    key: str
    """Identifies this run of the tracker, to continue it later."""
    where: str
    """Where the user sees it, as the end of a line; may be empty."""

    def settings(self, values: Mapping[str, Setting]) -> None:
        """Record all hyper-parameters by name; called again if one has changed."""

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Record the figures of one epoch, by name."""

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Record the final figures of the run, by name; ``epoch`` is its last."""

    def picture(self, name: str, path: Path, epoch: int) -> None:
        """Record a PNG."""

    def file(self, path: Path) -> None:
        """Record a file of the run, such as its model. A tracker that keeps no files does
        nothing."""

    def flush(self) -> None:
        """Called after several other calls: makes visible what was recorded so far."""

    def end(self, finished: bool) -> None:
        """End the run for now; not ``finished`` if the training was stopped."""
