"""Experiment trackers. ``TRACKERS`` is the one table of them.

What the run folder holds is the truth, and a tracker only copies it. A process of its own does that
(``python -m firstlight.track``), so a tracker that crashes or waits cannot end or hold up a
training, nor change its bits.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from firstlight.checked import nearest
from firstlight.errors import UserError
from firstlight.packages import missing
from firstlight.plain import shown
from firstlight.track.tracker import Opening, Tracker

__all__ = ["FOLDER", "TRACKERS", "Opening", "Tracker", "open_tracker", "refuse_unusable"]

FOLDER = "tracking"
"""In a run's folder: what each tracker was given, a file for each."""

TRACKERS: dict[str, tuple[str, str]] = {
    "tensorboard": ("tensorboard", "firstlight.track.to_tensorboard:TensorBoard"),
    "trackio": ("trackio", "firstlight.track.to_trackio:Trackio"),
    "mlflow": ("mlflow", "firstlight.track.to_mlflow:MLflow"),
    "wandb": ("wandb", "firstlight.track.to_wandb:WandB"),
}
"""Name, which is also that of the extra, to the module that it needs and the class that copies."""


def refuse_unusable(names: Sequence[str]) -> None:
    """Raise ``UserError`` for a name that is no tracker's, and where its package is not installed.
    The package is not imported."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"unknown tracker {shown(name)}; {nearest(name, tuple(TRACKERS))}")
        module, _ = TRACKERS[name]
        if find_spec(module) is None:
            raise missing(module, f"the tracker {name}", f"'firstlight[{name}]'")


def open_tracker(name: str, opening: Opening) -> Tracker:
    """The tracker, ready to be given a run. Raises whatever its package raises."""
    _, place = TRACKERS[name]
    module, _, kind = place.partition(":")
    tracker: Tracker = getattr(import_module(module), kind)(opening)
    return tracker
