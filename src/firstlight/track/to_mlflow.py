"""MLflow: a run of an experiment, at ``$MLFLOW_TRACKING_URI`` or in ``mlflow.db`` in the working
folder."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

# Set before MLflow reads them: an unavailable server is retried later anyway.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from firstlight import __version__
from firstlight.track.tracker import PROJECT, Opening, Setting
from firstlight.untrusted import without_password

LONGEST = 6000
"""Most characters of a parameter's value; longer ones are cut, and are complete in
``recipe.toml``."""
AT_ONCE = 100
"""Parameters per request."""


class MLflow:
    """A ``Tracker``; its key is the run's id."""

    def __init__(self, opening: Opening) -> None:
        self._client = MlflowClient()
        if opening.key:
            self.key = opening.key
            self._open_again()
        else:
            tags = {
                "firstlight.version": __version__,
                "firstlight.run": str(opening.folder.resolve()),
            }
            run = self._client.create_run(self._experiment(), run_name=opening.name, tags=tags)
            self.key = str(run.info.run_id)
        place = without_password(self._client.tracking_uri)
        if not place.startswith("http"):
            place = f"see it with: mlflow ui --backend-store-uri {place}"
        self.where = place

    def _open_again(self) -> None:
        try:
            self._client.update_run(self.key, status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise LookupError(
                f"run {self.key} is not at {without_password(self._client.tracking_uri)}. Start "
                "the command where it was trained, or set MLFLOW_TRACKING_URI"
            ) from error

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def settings(self, values: Mapping[str, Setting]) -> None:
        """MLflow cannot change a parameter. A changed one becomes a tag of the same name."""
        texts = {name: str(value)[:LONGEST] for name, value in values.items()}
        there = self._client.get_run(self.key).data.params
        new = [Param(name, text) for name, text in texts.items() if name not in there]
        changed = [
            RunTag(name, text)
            for name, text in texts.items()
            if name in there and there[name] != text
        ]
        for at in range(0, len(new), AT_ONCE):
            self._client.log_batch(self.key, params=new[at : at + AT_ONCE])
        self._client.log_batch(self.key, tags=changed)

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        now = round(1000 * time.time())
        metrics = [Metric(name, value, now, number) for name, value in figures.items()]
        self._client.log_batch(self.key, metrics=metrics)

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.epoch(epoch, figures)

    def picture(self, name: str, path: Path, epoch: int) -> None:
        self._client.log_artifact(self.key, str(path), "figures")

    def file(self, path: Path) -> None:
        self._client.log_artifact(self.key, str(path), "model")

    def flush(self) -> None:
        return

    def end(self, finished: bool) -> None:
        self._client.set_terminated(self.key, "FINISHED" if finished else "KILLED")
