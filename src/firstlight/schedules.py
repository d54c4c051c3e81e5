"""Schedules of the learning rate over a run. Each is a value without PyTorch.

``SCHEDULES`` is the one table of them: it maps the name in a recipe to the class. To add a
schedule, write its class and add one line to the table.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from firstlight.checked import number
from firstlight.errors import UserError
from firstlight.parts import Part


@dataclass(frozen=True, repr=False)
class Schedule(Part, ABC):
    """Gives the learning rate, as a share of the peak, at each point of the run."""

    @abstractmethod
    def factor(self, done: float) -> float:
        """Return the share after ``done`` of the run's steps, 0 to 1."""


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """The peak learning rate throughout."""

    kind: ClassVar[str] = "constant"

    def factor(self, done: float) -> float:
        return 1.0


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Linear warm-up to the peak, then linear decay (Smith and Topin 2018, with constant
    momentum)."""

    kind: ClassVar[str] = "one-cycle"

    _: KW_ONLY
    warmup_fraction: float = number(0.25, least=0.0, most=1.0)
    """Share of all steps before the peak."""
    start_fraction: float = number(0.1, least=0.0, most=1.0)
    """Initial learning rate, as a share of the peak; only with a warm-up."""
    final_fraction: float = number(0.0, least=0.0, most=1.0)
    """Final learning rate, as a share of the peak."""

    def factor(self, done: float) -> float:
        if done < self.warmup_fraction:
            rise = done / self.warmup_fraction
            return self.start_fraction + (1 - self.start_fraction) * rise
        fall = (done - self.warmup_fraction) / max(1e-12, 1 - self.warmup_fraction)
        return 1 + (self.final_fraction - 1) * fall


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    """Linear warm-up to the peak, then cosine decay (Loshchilov and Hutter 2017, equation 5,
    without restarts)."""

    kind: ClassVar[str] = "cosine"

    _: KW_ONLY
    warmup_fraction: float = number(0.05, least=0.0, most=1.0)
    """Share of all steps before the peak."""
    start_fraction: float = number(0.1, least=0.0, most=1.0)
    """Initial learning rate, as a share of the peak; only with a warm-up."""
    final_fraction: float = number(0.0, least=0.0, most=1.0)
    """Final learning rate, as a share of the peak."""

    def factor(self, done: float) -> float:
        if done < self.warmup_fraction:
            rise = done / self.warmup_fraction
            return self.start_fraction + (1 - self.start_fraction) * rise
        fall = (done - self.warmup_fraction) / max(1e-12, 1 - self.warmup_fraction)
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * fall)) / 2


@dataclass(frozen=True, repr=False)
class Steps(Schedule):
    """The peak, multiplied by a factor after each of the given shares (He et al. 2016, section
    4.2)."""

    kind: ClassVar[str] = "steps"

    _: KW_ONLY
    at: tuple[float, ...] = number((0.5, 0.75), least=0.0, most=1.0, above=True)
    """Shares of all steps after which the rate falls, in increasing order."""
    factor_each: float = number(0.1, least=0.0, most=1.0, above=True)
    """Factor at each step down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.at) != sorted(set(self.at)):
            raise UserError(f"at must be increasing, got {list(self.at)}")

    def factor(self, done: float) -> float:
        return self.factor_each ** sum(done >= share for share in self.at)


SCHEDULES: dict[str, type[Schedule]] = {
    one.kind: one for one in (Constant, OneCycle, Cosine, Steps)
}
