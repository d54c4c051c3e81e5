"""Copy the content of a run folder to a tracker, except what was copied before."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from firstlight.layers.own_code import COPY
from firstlight.plain import read_toml, write_json
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_epochs
from firstlight.track import FOLDER, Opening, Tracker, open_tracker
from firstlight.track.tracker import Setting
from firstlight.untrusted import without_password

CURVES = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "learning_rate": "learning_rate",
    "train_seconds": "train/seconds",
}
"""Maps columns of ``epochs.csv`` to the trackers' names."""
FILES = ("model.safetensors", "recipe.toml", "summary.json", COPY)
"""Files of a finished run that a tracker keeps."""
NO_SETTINGS = ("format", "description")
"""Keys of ``recipe.toml`` that are not settings."""
MEASURED = ("accuracy", "log_loss", "expected_calibration_error")
"""Figures from ``metrics.json``."""


@dataclass(kw_only=True)
class Copied:
    """What a tracker was given, as stored in ``tracking/NAME.json`` in the run folder."""

    key: str = ""
    """The tracker's own name of the run."""
    settings: dict[str, Setting] = field(default_factory=dict)
    epoch: int = -1
    """The last epoch."""
    files: dict[str, str] = field(default_factory=dict)
    """Maps name to SHA-256 of the content."""


def place_of(name: str) -> str:
    """Return the path, relative to the run folder, of the file with what a tracker was given."""
    return f"{FOLDER}/{name}.json"


def trackers_of(folder: RunFolder) -> list[str]:
    """Return the trackers that a run is copied to."""
    return sorted(path.stem for path in (folder.path / FOLDER).glob("*.json"))


class Copying:
    """The state of copying one run to one tracker."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        """Raises whatever the tracker's package raises if it cannot be opened."""
        self._folder, self._place = folder, place_of(name)
        self._copied = Copied()
        if (folder.path / self._place).is_file():
            with folder.trusted():
                self._copied = Copied(**folder.read_json(self._place))
        self._keep()  # that it was requested
        opening = Opening(name=folder.name, folder=folder.path, key=self._copied.key)
        self.tracker: Tracker = open_tracker(name, opening)
        self._copied.key = self.tracker.key
        self._copied.settings = {}  # a reopened tracker may have lost them
        self._keep()

    def _keep(self) -> None:
        self._folder.write_json(self._place, asdict(self._copied))

    def look(self) -> None:
        """Copy settings and epochs. Raises whatever the tracker raises; what was copied before that
        is recorded."""
        before = write_json(asdict(self._copied))
        try:
            self._settings()
            self._epochs()
            self.tracker.flush()
        finally:
            if write_json(asdict(self._copied)) != before:
                self._keep()

    def finish(self) -> None:
        """Copy the rest: results, figures and files. Raises as ``look`` does."""
        self.look()
        try:
            if self._folder.finished:
                self._results()
                self._pictures()
                self._files()
                self.tracker.flush()
            self.tracker.end(self._folder.finished)
        finally:
            self._keep()

    def _settings(self) -> None:
        values = settings_of(self._folder)
        if values != self._copied.settings:
            self.tracker.settings(values)
            self._copied.settings = values

    def _epochs(self) -> None:
        if not (self._folder.path / "epochs.csv").is_file():
            return
        for row in read_epochs(self._folder):
            number = int(row["epoch"] or 0)
            if number > self._copied.epoch:
                self.tracker.epoch(number, _finite({CURVES[k]: row.get(k) for k in CURVES}))
                self._copied.epoch = number

    def _results(self) -> None:
        for name, figures_of in (("summary.json", _of_training), ("metrics.json", _of_test)):
            if self._is_new(f"figures of {name}", name):
                with self._folder.trusted():
                    figures = figures_of(self._folder.read_json(name))
                self.tracker.results(max(0, self._copied.epoch), figures)
                self._note(f"figures of {name}", name)

    def _pictures(self) -> None:
        for path in sorted((self._folder.path / "figures").glob("*.png")):
            name = f"figures/{path.name}"
            if not path.name.startswith("explain-") and self._is_new(name, name):
                self.tracker.picture(f"figures/{path.stem}", path, max(0, self._copied.epoch))
                self._note(name, name)

    def _files(self) -> None:
        for name in FILES:
            if self._is_new(name, name):
                self.tracker.file(self._folder.path / name)
                self._note(name, name)

    def _is_new(self, what: str, name: str) -> bool:
        path = self._folder.path / name
        return path.is_file() and self._copied.files.get(what) != self._digest(name)

    def _note(self, what: str, name: str) -> None:
        self._copied.files[what] = self._digest(name)

    def _digest(self, name: str) -> str:
        return hashlib.sha256((self._folder.path / name).read_bytes()).hexdigest()


def settings_of(folder: RunFolder) -> dict[str, Setting]:
    """Return hyper-parameters by name, such as ``optimizer.learning_rate``; and data, device,
    version."""
    found: dict[str, Setting] = {}
    recipe = read_toml(folder.read("recipe.toml"))
    _flatten({k: v for k, v in recipe.items() if k not in NO_SETTINGS}, "", found)
    data, machine = folder.read_json("data.json"), folder.read_json("environment.json")
    with folder.trusted():
        found["data"] = without_password(str(data["name"]))
        found["data.trained_on"] = int(data["trained_on"])
        for key in ("device", "threads", "firstlight", "torch"):
            found[f"environment.{key}"] = machine[key]
    return found


def _flatten(values: Mapping[str, Any], before: str, into: dict[str, Setting]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{before}{key}.", into)
        else:
            plain = isinstance(value, str | int | float)
            into[f"{before}{key}"] = value if plain else write_json(value)


def _of_training(summary: Mapping[str, Any]) -> dict[str, float]:
    figures = {
        "training/parameters": summary["parameters"],
        "training/epochs": summary["epochs"],
        "training/seconds": summary["train_seconds"],
    }
    kept = summary.get("kept_epoch") or {}
    figures |= {f"kept/{CURVES[key]}": kept.get(key) for key in list(CURVES)[:4]}
    return _finite(figures)


def _of_test(metrics: Mapping[str, Any]) -> dict[str, float]:
    return _finite({f"test/{key}": metrics[key] for key in MEASURED})


def _finite(figures: Mapping[str, float | None]) -> dict[str, float]:
    """Remove figures that were not measured, NaN and infinity."""
    return {k: float(v) for k, v in figures.items() if v is not None and math.isfinite(v)}
