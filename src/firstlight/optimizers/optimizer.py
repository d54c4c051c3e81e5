"""The base class of all optimizers: a value that says how to update the weights.

An optimizer is a frozen dataclass of settings. It needs no PyTorch; only ``rules`` imports it.
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
    """Trained parameters by their multiplier of the learning rate."""


@dataclass(frozen=True, repr=False)
class Optimizer(Part, ABC):
    """An optimizer with its settings; the first one is the peak learning rate of the run."""

    main: ClassVar[str] = "learning_rate"
    moments: ClassVar[int] = 2
    """Most numbers that it stores per weight."""

    learning_rate: float = number(1e-3, least=0.0, most=100.0, above=True)
    """Peak learning rate of the run."""

    @abstractmethod
    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        """Return the update rules. ``precision`` is the dtype that matrix products may use."""
