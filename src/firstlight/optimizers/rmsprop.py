"""RMSprop."""

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
class RMSprop(Optimizer):
    """The gradient over the root of the running mean of its square (Tieleman and Hinton 2012), as
    computed by ``torch.optim.RMSprop``."""

    kind: ClassVar[str] = "rmsprop"

    _: KW_ONLY
    decay: float = number(0.9, least=0.0, most=0.999999)
    """Decay per step of the running mean of the squared gradient."""
    momentum: float = number(0.0, least=0.0, most=0.9999)
    """Share of the last step to keep."""
    epsilon: float = number(1e-7, least=0.0, most=1.0, above=True)
    """Added to the root."""
    weight_decay: float = number(0.0, least=0.0, most=1.0)
    """L2 penalty: the weights times this are added to the gradient."""

    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        from firstlight.optimizers.rules import RMSpropRule, groups

        moving = groups(shares, self.learning_rate, self.weight_decay)
        return [RMSpropRule(moving, self.decay, self.momentum, self.epsilon)]
