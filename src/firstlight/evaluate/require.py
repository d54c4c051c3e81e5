"""Thresholds that a run's metrics must meet, as a command line states them."""

import math
import re
from dataclasses import dataclass

from firstlight.errors import UserError
from firstlight.evaluate.task import AnyMetrics

_SIGNS = {"accuracy": ">=", "log_loss": "<=", "expected_calibration_error": "<="}
"""Higher is better for accuracy, lower for the others."""
_OF_LABELS = {"f1_micro": ">=", "f1_macro": ">=", "mean_average_precision": ">="}
"""If images may have several labels."""
_SIGNS |= _OF_LABELS


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A metric and its bound: the lowest accuracy, or the highest loss or error."""

    metric: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{_SIGNS[self.metric]}{self.bound:g}"

    def value_in(self, metrics: AnyMetrics) -> float:
        """The metric's value. Raises ``UserError`` if these answers have no such metric."""
        if not hasattr(metrics, self.metric):
            raise UserError(
                f"--require {self}: {self.metric} is a figure of data with several labels for "
                "each picture. Use accuracy, log_loss or expected_calibration_error"
            )
        return float(getattr(metrics, self.metric))

    def met_by(self, metrics: AnyMetrics) -> bool:
        """Whether the metric meets the bound."""
        value = self.value_in(metrics)
        return value >= self.bound if _SIGNS[self.metric] == ">=" else value <= self.bound


def requirement(text: str) -> Requirement:
    """Read ``accuracy>=0.97``, ``log_loss<=0.1`` or ``expected_calibration_error<=0.02``; a bare
    number is the lowest accuracy. Raises ``UserError`` for anything else."""
    parts = re.fullmatch(r"\s*(?:(\w+)\s*(>=|<=)\s*)?(\d*\.?\d+(?:e-?\d+)?)\s*", text)
    name = (parts[1] or "accuracy") if parts else ""
    if parts is None or _SIGNS.get(name, "") != (parts[2] or ">="):
        examples = ", ".join(f"{one}{sign}0.05" for one, sign in _SIGNS.items() if sign == "<=")
        raise UserError(
            f"--require: wanted a condition such as accuracy>=0.97 or {examples}, got {text!r}"
        )
    bound = float(parts[3])
    if bound > (math.inf if name == "log_loss" else 1):
        raise UserError(f"--require {text}: {name} must be between 0 and 1, such as 0.97")
    return Requirement(metric=name, bound=bound)
