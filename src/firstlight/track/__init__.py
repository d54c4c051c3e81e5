"""Experiment trackers. ``TRACKERS`` is the one table of them.

The run folder is authoritative, and a tracker only copies it. A separate process does that
(``python -m firstlight.track``). So a tracker that crashes or hangs cannot end or delay a training,
nor change its bits.
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
"""Folder in a run's folder with one file per tracker: what it was given."""

TRACKERS: dict[str, tuple[str, str]] = {
    "tensorboard": ("tensorboard", "firstlight.track.to_tensorboard:TensorBoard"),
    "trackio": ("trackio", "firstlight.track.to_trackio:Trackio"),
    "mlflow": ("mlflow", "firstlight.track.to_mlflow:MLflow"),
    "wandb": ("wandb", "firstlight.track.to_wandb:WandB"),
}
"""Maps each name, which is also that of the extra, to the module that it needs and its class."""


def refuse_unusable(names: Sequence[str]) -> None:
    """Raise ``UserError`` for an unknown tracker, and if its package is not installed. Does not
    import the package."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"unknown tracker {shown(name)}; {nearest(name, tuple(TRACKERS))}")
        module, _ = TRACKERS[name]
        if find_spec(module) is None:
            raise missing(module, f"the tracker {name}", f"'firstlight[{name}]'")


def open_tracker(name: str, opening: Opening) -> Tracker:
    """Return the tracker, ready for a run. Raises whatever its package raises."""
    _, place = TRACKERS[name]
    module, _, kind = place.partition(":")
    tracker: Tracker = getattr(import_module(module), kind)(opening)
    return tracker
