"""Answers of a network in a contest to pictures that it was not trained on.

Axes: N images, M images of all parts, K classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from firstlight.evaluate.task import AnyCalibration, task_of
from firstlight.training.linear_head import FOLDS
from firstlight.training.loss import loss_for
from firstlight.verbs.linear_start import LinearStart

CLEAR = 2.0
"""Standard errors of the mean difference from which it counts as significant."""

Answers = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
"""Logits N×K and labels, int64 N or bool N×K."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A held-out part with its answers."""

    right: int
    """How many are answered rightly; with several labels, exact matches at 50 %."""
    losses: tuple[float, ...]
    """Calibrated log loss of each picture, in the order of their content."""

    @classmethod
    def from_json(cls, values: Any) -> "Answered":
        """Raises ``LookupError``, ``TypeError`` or ``ValueError`` for invalid values."""
        part = cls(right=values["right"], losses=tuple(values["losses"]))
        if type(part.right) is not int or not 0 <= part.right <= len(part.losses):
            raise ValueError(f"{part.right!r} of {len(part.losses)} are right")
        if not all(type(one) is float and 0 <= one < float("inf") for one in part.losses):
            raise ValueError("a loss is no number")
        return part


def answered_parts(
    held_out: Answers, begun: LinearStart | None, calibration: AnyCalibration | None
) -> tuple[Answered, ...]:
    """Return the held-out part. If the last layer was fitted and not trained further, also return
    each other part, predicted by the layer that was fitted without it."""
    if begun is None or calibration is None or np.isnan(begun.fit.held_out_NK).any():
        return (answered(held_out),)
    scores_MK, labels = begun.fit.held_out_NK, begun.labels
    exact_MK = scores_MK.astype(np.float64) / calibration.temperature
    losses_M = task_of(labels.ndim == 2).losses(exact_MK, labels)
    parts_M = [begun.fold_M == fold for fold in range(FOLDS)]
    return tuple(
        answered((scores_MK[part_M], labels[part_M]), losses_M[part_M]) for part_M in parts_M
    )


def answered(answers: Answers, losses_N: npt.NDArray[np.float64] | None = None) -> Answered:
    """Return the number of correct answers, and the losses, by default after calibration on these
    images."""
    logits_NK, labels = answers
    if losses_N is None:
        losses_N = task_of(labels.ndim == 2).calibrated_losses(logits_NK, labels)
    targets = torch.from_numpy(labels)
    loss = loss_for(targets)(smoothing=0.0, weights_K=None)
    right_N = loss.right(torch.from_numpy(logits_NK), targets)
    return Answered(right=int(right_N.sum()), losses=tuple(losses_N.tolist()))


def is_clear(first: tuple[Answered, ...], second: tuple[Answered, ...]) -> bool:
    """Whether the common parts show which network has the lower loss: the mean difference per
    picture is at least ``CLEAR`` standard errors from zero."""
    differences_N = np.concatenate(
        [np.subtract(one.losses, other.losses) for one, other in zip(first, second, strict=False)]
    )
    if len(differences_N) < 2:
        return False
    error = differences_N.std(ddof=1) / np.sqrt(len(differences_N))
    return bool(abs(differences_N.mean()) > CLEAR * error)
