"""Where a run stands, and what it tells after each step and each epoch."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Place(NamedTuple):
    """A place in a run."""

    step: int
    """Steps done since the start of the run."""
    epoch: int
    """Epochs finished."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of ``epochs.csv``. Means are over the epoch's images; times are in seconds."""

    epoch: int
    """From 1; 0 for a run that begins with a fitted last layer, before its first step."""
    steps: int
    """Steps since the start of the run."""
    learning_rate: float
    """Of the epoch's last step."""
    train_loss: float
    train_accuracy: float
    """Measured while learning, so from weights that still move; 0 to 1."""
    validation_loss: float | None
    validation_accuracy: float | None
    """Both as precise as training where that is mixed, but of the last epoch, or with patience of
    every one, in float32; where a fitted last layer is all there is, from features."""
    train_seconds: float
    """Training alone, without validation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What a last layer that was fitted before the first step reached on the training images."""

    loss: float
    accuracy: float
    seconds: float
    left_out: tuple[float, float] | None = None
    """Loss and accuracy of images by layers that were fitted without them (cross-validation), where
    none are held out of the run."""
    answers: tuple[Tensor, Tensor] | None = None
    """Logits N×K, from features, and labels N of the images that are held out of the run."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step done. On an accelerator the means lag by some steps, as reading waits for it."""

    epoch: int
    step: int
    """Steps since the start of the run."""
    seen: int
    """Images of this epoch so far."""
    loss: float
    """Mean of this epoch so far."""
    accuracy: float
    """Mean of this epoch so far, 0 to 1."""


@dataclass(kw_only=True)
class Position:
    """Where a run stands; with the tensors, all that a resumed run needs."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps done since the start of the run."""
    batch: int = 0
    """Steps done in the current epoch."""
    read: int = 0
    """Images of this epoch whose loss has been read; both sums are over these."""
    loss_sum: float = 0.0
    correct: int = 0
    train_seconds: float = 0.0
    replayed: int = 0
    """Steps since the start of the run whose pass was replayed (``training/replayed.py``)."""
    best_epoch: int = 0
    """The epoch with the smallest validation loss; kept where the recipe has patience."""
    records: list[EpochRecord] = field(default_factory=list)
