"""The update rules of a run's optimizer, and their state."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from firstlight.optimizers import Optimizer


class Optimizers:
    """Everything that updates the weights."""

    def __init__(
        self,
        choice: Optimizer,
        model: nn.Module,
        batch_size: int,
        first_share: float = 1.0,
        precision: torch.dtype | None = None,
    ) -> None:
        """``first_share`` is the first layer's learning rate as a share of the last layer's.

        ``precision`` is the dtype of Muon's matrix products, by default that of the weights.
        """
        self._trained = [p for p in model.parameters() if p.requires_grad]
        shares = _shares(model, first_share)
        self._parts = choice.rules(shares, batch_size, precision)

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for weight in self._trained:
            weight.grad = None

    def clip(self, most: float) -> None:
        """Scale all gradients by one number if their global norm is above ``most``."""
        nn.utils.clip_grad_norm_(self._trained, most)

    def step(self, factor: float | Tensor) -> None:
        """Update every weight, at ``factor`` times its peak learning rate; the factor may be a
        float32 tensor without axes on the device."""
        for part in self._parts:
            part.step(factor)

    def begin(self) -> None:
        """Create the state of all weights before the first step."""
        for part in self._parts:
            part.begin([weight for weight in part.weights if weight not in part.kept])

    def state(self) -> dict[str, Tensor]:
        """Running averages by name: number of the rule, number of the weight, kind."""
        return {
            f"{number}.{index}.{kind}": value
            for number, part in enumerate(self._parts)
            for index, weight in enumerate(part.weights)
            for kind, value in part.kept.get(weight, {}).items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``state`` returned. Raises ``ValueError`` if it does not fit."""
        if not state:
            return
        self.begin()
        places = self.state()
        if set(state) != set(places):
            name = min(set(state) ^ set(places))
            raise ValueError(
                f"optimizer state {name}: {'missing' if name in places else 'unexpected'}"
            )
        for name, place in places.items():
            if place.shape != state[name].shape:
                raise ValueError(
                    f"optimizer state {name}: wanted the shape {tuple(place.shape)}, got "
                    f"{tuple(state[name].shape)}"
                )
            place.copy_(state[name])  # a moment has the memory layout of its weight


_Shares = dict[float, list[nn.Parameter]]
"""Trained parameters by their share of the learning rate."""


def _shares(model: nn.Module, first: float) -> _Shares:
    """From ``first`` for the first layer to 1 for the last, evenly on a log scale."""
    by_name: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        by_name.setdefault(name.rpartition(".")[0], []).append(parameter)
    layers: list[list[nn.Parameter]] = []
    for parameters in by_name.values():
        if layers and all(p.ndim < 2 for p in parameters):
            layers[-1].extend(parameters)  # a norm belongs to the layer before it
        else:
            layers.append(parameters)
    shares: _Shares = {}
    for depth, parameters in enumerate(layers):  # a frozen layer counts too
        share = first ** (1 - depth / max(1, len(layers) - 1))
        shares.setdefault(share, []).extend(p for p in parameters if p.requires_grad)
    return shares
