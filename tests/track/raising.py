"""A tracker that is broken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firstlight.track.tracker import Opening


class Raising:
    """A tracker that raises in one method."""

    fails = ""
    key, where = "k", "there"

    def __init__(self, opening: Opening) -> None:
        self._do("open")

    def _do(self, what: str) -> None:
        if what == type(self).fails:
            raise OSError(28, "No space left on device")

    def settings(self, values: Mapping[str, Any]) -> None:
        self._do("settings")

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._do("epoch")

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._do("results")

    def picture(self, name: str, path: Path, epoch: int) -> None:
        self._do("picture")

    def file(self, path: Path) -> None:
        self._do("file")

    def flush(self) -> None:
        self._do("flush")

    def end(self, finished: bool) -> None:
        self._do("end")
