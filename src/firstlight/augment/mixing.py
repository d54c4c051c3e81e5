"""Augmentations that mix two images and their labels: at most one per recipe, and always the
last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firstlight.augment.augmentation import Augmentation
from firstlight.checked import number


@dataclass(frozen=True, repr=False)
class Mix(Augmentation):
    """A mix of images, which ``augment/mix.py`` computes."""

    main: ClassVar[str] = "alpha"

    alpha: float = number(1.0, least=0.01, most=1.0)
    """α of the Beta(α, α) distribution of the shares."""

    def words(self) -> str:
        return f"mixed with another image ({self.kind}, not drawn here)"


class MixUp(Mix):
    """λ of each image plus 1 - λ of another one in the batch (Zhang et al. 2018, equation 1)."""

    kind: ClassVar[str] = "mixup"


class CutMix(Mix):
    """Paste a rectangle of another image into each, with the images' proportions, area 1 - λ and a
    random centre (Yun et al. 2019, equations 1 and 2)."""

    kind: ClassVar[str] = "cutmix"
