"""The size of each layer's weights and gradients, and how far a step moves the weights.

They are measured at the last step of an epoch. Nothing of the training changes: the weights are
copied before the step, and three norms of each are taken after it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LayerFigures:
    """One line of ``layers.csv``: a layer's weights, without its bias, at an epoch's last step."""

    epoch: int
    layer: str
    """The module's name, such as ``conv1``."""
    weights: float
    """Root mean square of the weights after the step."""
    gradients: float
    """Root mean square of the gradients that the step used."""
    update: float
    """Root mean square of the weights' change, as a share of ``weights``; 0 if these are zero."""


class LayerSizes:
    """Measures one step."""

    def __init__(self, model: nn.Module) -> None:
        """Copy the weights that the next step may change."""
        self._before = [
            (name.rpartition(".")[0] or name, weight, weight.detach().clone())
            for name, weight in model.named_parameters()
            if weight.ndim >= 2 and weight.requires_grad
        ]
        self._names: list[str] = []
        self._numbers: list[int] = []
        self._norms: list[Tensor] = []

    def after(self) -> None:
        """Take the norms once the step is done, without waiting for the device."""
        moved = [one for one in self._before if one[1].grad is not None]
        self._before = []
        if not moved:
            return
        self._names = [name for name, _, _ in moved]
        weights = [weight.detach() for _, weight, _ in moved]
        self._numbers = [weight.numel() for weight in weights]
        changes = [before for _, _, before in moved]
        torch._foreach_sub_(changes, weights)
        gradients = [weight.grad for _, weight, _ in moved if weight.grad is not None]
        sets = (weights, gradients, changes)
        self._norms = [norm for tensors in sets for norm in torch._foreach_norm(tensors)]

    @property
    def norms(self) -> list[Tensor]:
        """Numbers on the device, to be read together with others."""
        return [norm.float() for norm in self._norms]

    def figures(self, epoch: int, norms: list[float]) -> list[LayerFigures]:
        """Return the figures, given the norms as they were read."""
        count = len(self._names)
        weights, gradients, changes = (norms[at * count : (at + 1) * count] for at in range(3))
        return [
            LayerFigures(
                epoch=epoch,
                layer=name,
                weights=weight / size,
                gradients=gradient / size,
                update=change / weight if weight else 0.0,
            )
            for name, weight, gradient, change, size in zip(
                *(self._names, weights, gradients, changes),
                [number**0.5 for number in self._numbers],
                strict=True,
            )
        ]
