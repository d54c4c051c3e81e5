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
    """A step against the gradient; with momentum, along a decaying sum of gradients (Polyak 1964;
    Nesterov's form after Sutskever et al. 2013, section 2), as computed by ``torch.optim.SGD``."""

    kind: ClassVar[str] = "sgd"
    moments: ClassVar[int] = 1

    learning_rate: float = number(0.01, least=0.0, most=100.0, above=True)
    """Peak learning rate of the run."""
    _: KW_ONLY
    momentum: float = number(0.9, least=0.0, most=0.9999)
    """Share of the last step's direction to keep."""
    nesterov: bool = False
    """Whether to use Nesterov momentum: the step looks ahead along the momentum."""
    weight_decay: float = number(0.0, least=0.0, most=1.0)
    """L2 penalty: the weights times this are added to the gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise UserError("nesterov = true needs momentum above 0")

    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        from firstlight.optimizers.rules import SGDRule, groups

        moving = groups(shares, self.learning_rate, self.weight_decay)
        return [SGDRule(moving, self.momentum, self.nesterov)]
