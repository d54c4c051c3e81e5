"""What all optimizers have in common: a value that says how the weights follow the gradient.

An optimizer is a frozen dataclass of choices and needs no PyTorch; ``rules`` alone imports it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.parts import Part

if TYPE_CHECKING:
    from torch import dtype, nn

    from firstlight.optimizers.rules import Rule

    Shares = Mapping[float, list[nn.Parameter]]
    """Trained parameters by their share of the learning rate."""


@dataclass(frozen=True, repr=False)
class Optimizer(Part, ABC):
    """One optimizer with its choices; the first is the largest learning rate of the run."""

    main: ClassVar[str] = "learning_rate"
    moments: ClassVar[int] = 2
    """Numbers that it keeps for each weight, at most."""

    learning_rate: float = number(1e-3, least=0.0, most=100.0, above=True)
    """The largest of the run."""

    @abstractmethod
    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        """What moves the weights. ``precision`` is what matrix products may be computed in."""
