"""The position of a run, and what it reports after each step and each epoch."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from firstlight.training.layer_figures import LayerFigures


class Place(NamedTuple):
    """A position in a run."""

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
    """The learning rate of the epoch's last step."""
    train_loss: float
    train_accuracy: float
    """Measured during training, while the weights change; 0 to 1."""
    validation_loss: float | None
    validation_accuracy: float | None
    """Both validation figures are computed in the precision of training; in float32 for the last
    epoch, and with patience for every epoch. If only the last layer is fitted, from features."""
    train_seconds: float
    """Training alone, without validation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """Results on the training images of a last layer that was fitted before the first step."""

    loss: float
    accuracy: float
    seconds: float
    left_out: tuple[float, float] | None = None
    """Loss and accuracy by cross-validation, if no images are held out of the run."""
    answers: tuple[Tensor, Tensor] | None = None
    """Logits N×K, computed from features, and labels N of the run's held-out images."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """A finished step. On an accelerator the means lag by a few steps, because reading blocks."""

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
    """The position of a run: with the tensors, all that a resumed run needs."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps done since the start of the run."""
    batch: int = 0
    """Steps done in the current epoch."""
    read: int = 0
    """Number of images of this epoch whose loss has been read; both sums are over these."""
    loss_sum: float = 0.0
    correct: int = 0
    train_seconds: float = 0.0
    replayed: int = 0
    """Steps since the start of the run that were replayed (``training/replayed.py``)."""
    best_epoch: int = 0
    """The epoch with the smallest validation loss; its weights are kept if patience is set."""
    records: list[EpochRecord] = field(default_factory=list)
    layers: list[LayerFigures] = field(default_factory=list)
