"""How the weights follow the gradient: the optimizers of a recipe."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.recipe import OptimizerChoice


class Optimizers:
    """All that moves the weights: Adam, or Muon for filters with SGD for the rest."""

    def __init__(
        self, choice: OptimizerChoice, model: nn.Module, batch_size: int, first_share: float = 1.0
    ) -> None:
        """``first_share``: the first layer's learning rate as a share of the last one's."""
        self._trained = [p for p in model.parameters() if p.requires_grad]
        shares = _shares(model, first_share)
        self._parts = (
            [_adam(choice, shares)]
            if choice.name == "adam"
            else _muon_and_sgd(choice, shares, batch_size)
        )
        for group in self._groups():
            group["peak"] = group["lr"]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self._trained:
            weight.grad = None

    def step(self, factor: float) -> None:
        """Move every weight, at ``factor`` of each one's peak learning rate."""
        for group in self._groups():
            group["lr"] = group["peak"] * factor
        for part in self._parts:
            part.step()

    def state(self) -> dict[str, Tensor]:
        """Running means by name: number of the optimizer, number of the weight, kind."""
        return {
            f"{number}.{index}.{kind}": value
            for number, part in enumerate(self._parts)
            for index, kinds in part.state_dict()["state"].items()
            for kind, value in kinds.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state`` gave. Raises ``ValueError`` where it does not fit."""
        wholes = [part.state_dict() for part in self._parts]
        weights = [[w for g in part.param_groups for w in g["params"]] for part in self._parts]
        for name, value in state.items():
            try:
                number, index, kind = name.split(".")
                like = weights[int(number)][int(index)]
                # A fused update walks memory: a moment must lie there as its weight does.
                moment = torch.empty_like(like).copy_(value) if value.ndim else value
                wholes[int(number)]["state"].setdefault(int(index), {})[kind] = moment
            except (ValueError, IndexError, RuntimeError) as error:
                raise ValueError(f"optimizer state {name}: {error}") from error
        for part, whole in zip(self._parts, wholes, strict=True):
            part.load_state_dict(whole)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts for group in part.param_groups]


_Shares = dict[float, list[nn.Parameter]]
"""Trained parameters by their share of the learning rate."""


def _shares(model: nn.Module, first: float) -> _Shares:
    """From ``first`` for the first layer to 1 for the last, evenly on a log scale."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            words = name.split(".")[:-1]
            layer = ".".join(words[:2] if words[1:2] and words[1].isdecimal() else words[:1])
            layers.setdefault(layer, []).append(parameter)
    shares: _Shares = {}
    for depth, parameters in enumerate(layers.values()):
        share = first ** (1 - depth / max(1, len(layers) - 1))
        shares.setdefault(share, []).extend(parameters)
    return shares


def _adam(choice: OptimizerChoice, shares: _Shares) -> torch.optim.Optimizer:
    groups = [{"params": ps, "lr": choice.learning_rate * share} for share, ps in shares.items()]
    return torch.optim.Adam(groups, betas=choice.betas, eps=choice.epsilon, fused=True)


def _muon_and_sgd(
    choice: OptimizerChoice, shares: _Shares, batch_size: int
) -> list[torch.optim.Optimizer]:
    """Muon moves the filters; SGD with Nesterov momentum 0.85 the last layer and the biases."""
    filters: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for share, parameters in shares.items():
        if some := [p for p in parameters if p.ndim == 4]:
            filters.append({"params": some, "lr": choice.learning_rate * share})
    for head, rate in ((True, choice.head_learning_rate), (False, choice.bias_learning_rate)):
        for share, parameters in shares.items():
            if some := [p for p in parameters if p.ndim < 4 and (p.ndim > 1) == head]:
                # The rates are for a loss summed over the batch; ours is its mean.
                decay = choice.weight_decay / rate
                rest.append(
                    {"params": some, "lr": rate * batch_size * share, "weight_decay": decay}
                )
    built: list[torch.optim.Optimizer] = []
    if filters:
        built.append(Muon(filters, lr=choice.learning_rate, momentum=choice.momentum))
    built.append(torch.optim.SGD(rest, lr=0.0, momentum=0.85, nesterov=True, fused=True))
    return built


class Muon(torch.optim.Optimizer):
    """Momentum whose update is brought near the closest orthogonal matrix.

    K. Jordan: Muon: An optimizer for hidden layers in neural networks, 2024. Filters O×I×h×w are
    seen as matrices O×(I·h·w); each is first rescaled to the norm √O.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every filter that has a gradient."""
        assert closure is None, "the loop computes its loss itself"
        for group in self.param_groups:
            for weights in _alike([w for w in group["params"] if w.grad is not None]):
                self._move(weights, group["lr"], group["momentum"])

    def _move(self, weights: list[Tensor], rate: float, momentum: float) -> None:
        """The update of filters of one shape, all at once."""
        gradients = [w.grad for w in weights if w.grad is not None]
        for weight, gradient in zip(weights, gradients, strict=True):
            if "momentum" not in self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(gradient)
        running = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_mul_(running, momentum)
        torch._foreach_add_(running, gradients)
        ahead = torch._foreach_add(gradients, running, alpha=momentum)  # Nesterov
        rows = len(weights[0])
        scales = [rows**0.5 / norm for norm in torch._foreach_norm(weights)]
        torch._foreach_mul_(weights, scales)
        updates_BRC = orthogonalised(torch.stack([a.reshape(rows, -1) for a in ahead]))
        moves = [u.view_as(w) for u, w in zip(updates_BRC.unbind(), weights, strict=True)]
        torch._foreach_add_(weights, moves, alpha=-rate)


def _alike(weights: list[Tensor]) -> list[list[Tensor]]:
    """Filters of one shape together on an accelerator, where each small step costs a launch; one by
    one on a CPU, where that was no faster."""
    if not weights or weights[0].device.type == "cpu":
        return [[weight] for weight in weights]
    shapes: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        shapes.setdefault(weight.shape, []).append(weight)
    return list(shapes.values())


def orthogonalised(matrices_BRC: Tensor, steps: int = 3) -> Tensor:
    """B matrices with the singular vectors of the inputs and singular values near one.

    The quintic Newton–Schulz iteration X ← aX + (bA + cA²)X with A = XXᵀ, whose coefficients make
    small singular values grow fast and leave them between about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices_BRC.shape[1] > matrices_BRC.shape[2]
    x: Tensor = matrices_BRC.mT if tall else matrices_BRC
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = x.mT if tall else x
    return result
