"""Adam and its relatives, which adapt the step size of each weight."""

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
class Adam(Optimizer):
    """The running mean of the gradient over the root of the running mean of its square (Kingma and
    Ba 2015, algorithm 1, with ε added to the root)."""

    kind: ClassVar[str] = "adam"

    _: KW_ONLY
    betas: tuple[float, float] = number((0.9, 0.999), least=0.0, most=0.999999)
    """Decay per step of the running means of the gradient and of its square."""
    epsilon: float = number(1e-7, least=0.0, most=1.0, above=True)
    """Added to the root of the second moment."""
    weight_decay: float = number(0.0, least=0.0, most=1.0)
    """L2 penalty: the weights times this are added to the gradient."""

    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        from firstlight.optimizers.rules import AdamRule, groups

        moving = groups(shares, self.learning_rate, self.weight_decay)
        return [AdamRule(moving, self.betas, self.epsilon)]


@dataclass(frozen=True, repr=False)
class AdamW(Optimizer):
    """Adam with decoupled weight decay, which shrinks the weights directly (Loshchilov and Hutter
    2019, algorithm 2)."""

    kind: ClassVar[str] = "adamw"

    _: KW_ONLY
    betas: tuple[float, float] = number((0.9, 0.999), least=0.0, most=0.999999)
    """Decay per step of the running means of the gradient and of its square."""
    epsilon: float = number(1e-8, least=0.0, most=1.0, above=True)
    """Added to the root of the second moment."""
    weight_decay: float = number(0.01, least=0.0, most=1.0)
    """Share of each weight subtracted per step, multiplied by the learning rate."""

    def rules(self, shares: Shares, batch_size: int, precision: dtype | None) -> list[Rule]:
        from firstlight.optimizers.rules import AdamWRule, groups

        moving = groups(shares, self.learning_rate, self.weight_decay)
        return [AdamWRule(moving, self.betas, self.epsilon)]
