"""Weights & Biases: a run of a project, sent to its server; with ``WANDB_MODE=offline``, stored in
``wandb`` in the working folder."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from firstlight.track.tracker import PROJECT, Opening, Setting


class WandB:
    """A ``Tracker``; its key is the run's id."""

    def __init__(self, opening: Opening) -> None:
        self.key = opening.key or secrets.token_hex(6)
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True
        )
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.key,
            name=opening.name,
            resume="allow",
            settings=settings,
        )
        self._files: list[Path] = []
        offline = os.environ.get("WANDB_MODE") == "offline"
        self.where = (
            "offline; send it with: wandb sync wandb/offline-run-*"
            if offline
            else str(self._run.url or "")
        )

    def settings(self, values: Mapping[str, Setting]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._run.log({"epoch": number, **figures}, step=number)

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._run.summary.update(dict(figures))

    def picture(self, name: str, path: Path, epoch: int) -> None:
        """Add the picture to the summary, because the history accepts each step only once."""
        self._run.summary[name] = wandb.Image(str(path))

    def file(self, path: Path) -> None:
        self._files.append(path)

    def flush(self) -> None:
        """Log the files of a run together, as one version of its model."""
        if not self._files:
            return
        artifact = wandb.Artifact(f"model-{self.key}", type="model")
        for path in self._files:
            artifact.add_file(str(path), name=path.name)
        self._run.log_artifact(artifact)
        self._files = []

    def end(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
