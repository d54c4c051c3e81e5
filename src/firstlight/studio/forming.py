"""What a network answers to ten held-out images while it learns, and its first filters.

Axes: B the ten images, H height, W width, C channels, O filters, K classes.
"""

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.data.encode import png
from firstlight.evaluate.predict import logits
from firstlight.files import write_whole
from firstlight.studio.trainings import Training
from firstlight.training.loop import Trainer
from firstlight.training.position import EpochRecord, StepRecord

IMAGES = 10
LOOKED_THROUGH = 2000
"""Held-out images among which the ten are sought."""
MOST_FILTERS, MOST_SIDE = 32, 16
EVERY = 2.0
"""Seconds between two looks within an epoch."""
MOST_LOOKS = 200
"""Beyond that many looks, every second one is dropped."""


class Look(NamedTuple):
    """The answers at one moment."""

    epoch: int
    """Epochs finished."""
    seen: int
    """Images trained on since the start."""
    said_B: list[int]
    sure_B: list[float]


class Forming:
    """Looks at a network while it is trained. The training's bits do not change: no random number
    is drawn, and each module is put back into its mode."""

    def __init__(self, training: Training, trainer: Trainer) -> None:
        self._training, self._trainer = training, trainer
        self._looks = list[Look]()
        self._at = time.monotonic()
        self._numbers_B, self._truth_B = _chosen(trainer)
        for number, image_HWC in enumerate(self._images()):
            write_whole(training.folder / f"image-{number}.png", png(image_HWC))
        self._look(0, trainer.seen)

    def step(self, record: StepRecord) -> None:
        """Look again within a long epoch."""
        if time.monotonic() - self._at > EVERY:
            self._look(record.epoch - 1, self._trainer.seen)

    def epoch(self, record: EpochRecord) -> None:
        """Look at the end of an epoch."""
        self._look(record.epoch, self._trainer.seen)

    def _images(self) -> list[Any]:
        validation = self._trainer.validation
        if validation is None or not len(self._numbers_B):
            return []
        return list(validation.images(self._numbers_B).cpu().numpy())

    def _look(self, epoch: int, seen: int) -> None:
        trainer, validation = self._trainer, self._trainer.validation
        if validation is not None and len(self._numbers_B):
            shares_BK = _answers(trainer, validation.images(self._numbers_B))
            sure_B, said_B = shares_BK.max(dim=1)
            sure = [round(value, 4) for value in sure_B.tolist()]
            self._looks.append(Look(epoch, seen, said_B.tolist(), sure))
        if len(self._looks) > MOST_LOOKS:
            self._looks = [*self._looks[:-1:2], self._looks[-1]]
        self._training.note(
            "forming.json",
            {
                "truth": self._truth_B,
                "looks": [look._asdict() for look in self._looks],
                "filters": _filters(trainer.answering),
            },
        )
        self._at = time.monotonic()


def _chosen(trainer: Trainer) -> tuple[Tensor, list[int]]:
    """Choose held-out images, of as many classes as possible: their numbers and labels. None if
    nothing is held out, or images have several labels."""
    validation, none = trainer.validation, torch.empty(0, dtype=torch.int64)
    if validation is None or validation.targets.ndim == 2:
        return none, []
    device = validation.rows_M.device
    numbers_N = torch.arange(min(len(validation), LOOKED_THROUGH), device=device)
    labels = validation.labels(numbers_N).tolist()
    earlier = dict[int, int]()
    order = list[tuple[int, int, int]]()
    for number, label in enumerate(labels):
        earlier[label] = earlier.get(label, -1) + 1
        order.append((earlier[label], label, number))
    chosen = sorted(order)[:IMAGES]
    numbers = torch.tensor([number for *_, number in chosen], dtype=torch.int64, device=device)
    return numbers, [label for _, label, _ in chosen]


@torch.no_grad()
def _answers(trainer: Trainer, images_BHWC: Tensor) -> Tensor:
    """Return probabilities B×K, uncalibrated, on the CPU."""
    network = trainer.answering
    modes = [(module, module.training) for module in network.modules()]
    try:
        return logits(network, trainer.preprocess, [images_BHWC]).softmax(dim=1).cpu()
    finally:
        for module, was_training in modes:
            module.training = was_training


def _filters(network: nn.Module) -> dict[str, Any] | None:
    """Return the first convolution that is trained: ``values`` O×C×H×W, rounded; None if there is
    none of a small size."""
    found = (
        one.detach()
        for one in network.parameters()
        if one.ndim == 4 and one.requires_grad and 1 < one.shape[2] <= MOST_SIDE
    )
    first_OCHW = next(found, None)
    if first_OCHW is None or first_OCHW.shape[1] not in (1, 3):
        return None
    values_OCHW = first_OCHW[:MOST_FILTERS].float().cpu().numpy()
    return {"count": len(first_OCHW), "values": np.round(values_OCHW, 4).tolist()}
