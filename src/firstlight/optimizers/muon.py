"""Muon."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    from torch import dtype

    from firstlight.optimizers.optimizer import Shares
    from firstlight.optimizers.rules import Rule


@dataclass(frozen=True, repr=False)
class Muon(Optimizer):
    """Jordan 2024 for filters: momentum with an update close to the nearest orthogonal matrix. SGD
    with Nesterov momentum 0.85 updates dense layers and biases."""

    kind: ClassVar[str] = "muon"
    moments: ClassVar[int] = 1

    learning_rate: float = number(0.24, least=0.0, most=100.0, above=True)
    """Peak learning rate of filters."""
    _: KW_ONLY
    momentum: float = number(0.6, least=0.0, most=0.999)
    """Momentum of filters."""
    head_learning_rate: float = number(0.67, least=0.0, most=1e4, above=True)
    """Learning rate of dense layers, for the loss summed over a batch."""
    bias_learning_rate: float = number(0.053, least=0.0, most=1e4, above=True)
    """Learning rate of biases and norms, for the loss summed over a batch."""
    weight_decay: float = number(2e-6, least=0.0, most=1.0)
    """Share of dense layers, biases and norms subtracted per image."""

    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        from firstlight.optimizers.rules import Group, MuonRule, SGDRule

        filters, rest = [], []
        for share, parameters in shares.items():
            if some := [p for p in parameters if p.ndim == 4]:
                filters.append(Group(weights=some, rate=self.learning_rate * share))
        rates = ((True, self.head_learning_rate), (False, self.bias_learning_rate))
        for head, rate in rates:
            for share, parameters in shares.items():
                if some := [p for p in parameters if p.ndim < 4 and (p.ndim > 1) == head]:
                    # The rates are for a loss summed over the batch; ours is averaged.
                    decay = self.weight_decay / rate
                    rest.append(Group(weights=some, rate=rate * batch_size * share, decay=decay))
        moving: list[Rule] = [SGDRule(rest, momentum=0.85, nesterov=True)]
        return [MuonRule(filters, self.momentum, precision), *moving] if filters else moving
