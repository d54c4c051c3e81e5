"""Mixes of two images and of their labels; at most one, and the last of the augmentations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firstlight.augment.augmentation import Augmentation
from firstlight.checked import number


@dataclass(frozen=True, repr=False)
class Mix(Augmentation):
    """What ``augment/mix.py`` does to a batch."""

    main: ClassVar[str] = "alpha"

    alpha: float = number(1.0, least=0.01, most=1.0)
    """α of the Beta(α, α) that the shares of a pair are drawn from."""

    def words(self) -> str:
        return f"mixed with another image ({self.kind}, not drawn here)"


class MixUp(Mix):
    """λ of each image plus 1 - λ of another of the batch (Zhang et al. 2018, equation 1)."""

    kind: ClassVar[str] = "mixup"


class CutMix(Mix):
    """A rectangle of another image in each, of the images' proportions and of area 1 - λ, its
    centre anywhere (Yun et al. 2019, equations 1 and 2)."""

    kind: ClassVar[str] = "cutmix"
