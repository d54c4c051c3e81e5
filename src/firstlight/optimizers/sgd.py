"""Stochastic gradient descent."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.errors import UserError
from firstlight.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    from torch import dtype

    from firstlight.optimizers.optimizer import Shares
    from firstlight.optimizers.rules import Rule


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Against the gradient; with momentum, along a decaying sum of gradients (Polyak 1964; in
    Nesterov's form as Sutskever et al. 2013, section 2), as ``torch.optim.SGD`` computes it."""

    kind: ClassVar[str] = "sgd"
    moments: ClassVar[int] = 1

    learning_rate: float = number(0.01, least=0.0, most=100.0, above=True)
    """The largest of the run."""
    _: KW_ONLY
    momentum: float = number(0.9, least=0.0, most=0.9999)
    """Share of the last step's direction that is kept."""
    nesterov: bool = False
    """Whether the gradient counts as if the momentum had moved the weights already."""
    weight_decay: float = number(0.0, least=0.0, most=1.0)
    """Times the weights, added to the gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise UserError("nesterov = true needs momentum above 0")

    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        from firstlight.optimizers.rules import SGDRule, groups

        moving = groups(shares, self.learning_rate, self.weight_decay)
        return [SGDRule(moving, self.momentum, self.nesterov)]
