"""Trackio: a run of a project on this machine, or at ``$TRACKIO_SPACE_ID`` or
``$TRACKIO_SERVER_URL``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trackio

from firstlight.track.tracker import PROJECT, Opening, Setting
from firstlight.untrusted import shell_word


class Trackio:
    """A ``Tracker``; its key is the name of the run."""

    def __init__(self, opening: Opening) -> None:
        self.key = opening.key or opening.name
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run: Any = trackio.init(
            project,
            name=self.key,
            resume="allow" if opening.key else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.where = f"see it with: trackio show --project {shell_word(project)}"

    def settings(self, values: Mapping[str, Setting]) -> None:
        self._run.config.update(dict(values))

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._run.log({"epoch": number, **figures}, step=number)

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=epoch)

    def picture(self, name: str, path: Path, epoch: int) -> None:
        self._run.log({name: trackio.Image(path)}, step=epoch)

    def file(self, path: Path) -> None:
        trackio.log_artifact(path, name=f"{self.key}-{path.name}", type="model")

    def flush(self) -> None:
        return

    def end(self, finished: bool) -> None:
        self._run.finish()
