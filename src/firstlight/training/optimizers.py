"""How the weights follow the gradient: the optimizers of a recipe.

The arithmetic of Adam and SGD is PyTorch's, through its functions and not its ``Optimizer``
classes, which load PyTorch's compiler when the first of them is made: a second, of a training of
four.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from firstlight.recipe import OptimizerChoice


class Optimizers:
    """All that moves the weights: Adam, or Muon for filters with SGD for the rest."""

    def __init__(
        self,
        choice: OptimizerChoice,
        model: nn.Module,
        batch_size: int,
        first_share: float = 1.0,
        precision: torch.dtype | None = None,
    ) -> None:
        """``first_share``: the first layer's learning rate as a share of the last one's.

        ``precision``: what Muon's matrix products are computed in, by default the weights' own.
        """
        self._trained = [p for p in model.parameters() if p.requires_grad]
        shares = _shares(model, first_share)
        self._parts = (
            [_adam(choice, shares)]
            if choice.name == "adam"
            else _muon_and_sgd(choice, shares, batch_size, precision)
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self._trained:
            weight.grad = None

    def step(self, factor: float) -> None:
        """Move every weight, at ``factor`` of each one's peak learning rate."""
        for part in self._parts:
            part.step(factor)

    def state(self) -> dict[str, Tensor]:
        """Running means by name: number of the optimizer, number of the weight, kind."""
        return {
            f"{number}.{index}.{kind}": value
            for number, part in enumerate(self._parts)
            for index, weight in enumerate(part.weights)
            for kind, value in part.kept.get(weight, {}).items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state`` gave. Raises ``ValueError`` where it does not fit."""
        if not state:
            return
        for part in self._parts:
            part.begin(part.weights)
        places = self.state()
        if set(state) != set(places):
            name = min(set(state) ^ set(places))
            raise ValueError(
                f"optimizer state {name}: {'missing' if name in places else 'foreign'}"
            )
        for name, place in places.items():
            if place.shape != state[name].shape:
                raise ValueError(
                    f"optimizer state {name}: wanted the shape {tuple(place.shape)}, got "
                    f"{tuple(state[name].shape)}"
                )
            place.copy_(state[name])  # a moment lies in memory as its weight does


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Weights that move at one rate."""

    weights: list[nn.Parameter]
    rate: float
    """The peak learning rate."""
    decay: float = 0.0
    """Weight decay, added to the gradient."""


class Optimizer(ABC):
    """A rule by which weights follow their gradients, and what it keeps of each between steps."""

    kinds: tuple[str, ...]
    """Names of the running means that are kept of a weight, each of the weight's shape."""

    def __init__(self, groups: list[Group]) -> None:
        self._groups = groups
        self.weights = [weight for group in groups for weight in group.weights]
        self.kept: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update of every weight that has a gradient, at ``factor`` of the peak rate."""
        for group in self._groups:
            weights: list[Tensor] = [w for w in group.weights if w.grad is not None]
            self.begin([weight for weight in weights if weight not in self.kept])
            if weights:
                gradients = [w.grad for w in weights if w.grad is not None]
                self._move(weights, gradients, group.rate * factor, group.decay)

    def begin(self, weights: Iterable[Tensor]) -> None:
        """What is kept of weights before their first step."""
        self.kept |= {weight: self._begun(weight) for weight in weights}

    def _begun(self, weight: Tensor) -> dict[str, Tensor]:
        return {kind: torch.zeros_like(weight) for kind in self.kinds}

    def _means(self, weights: list[Tensor], kind: str) -> list[Tensor]:
        return [self.kept[weight][kind] for weight in weights]

    @abstractmethod
    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float, decay: float
    ) -> None: ...


_Shares = dict[float, list[nn.Parameter]]
"""Trained parameters by their share of the learning rate."""


def _shares(model: nn.Module, first: float) -> _Shares:
    """From ``first`` for the first layer to 1 for the last, evenly on a log scale."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        words = name.split(".")[:-1]
        layer = ".".join(words[:2] if words[1:2] and words[1].isdecimal() else words[:1])
        own = layers.setdefault(layer, [])  # a layer that is not trained is one all the same
        if parameter.requires_grad:
            own.append(parameter)
    shares: _Shares = {}
    for depth, parameters in enumerate(layers.values()):
        share = first ** (1 - depth / max(1, len(layers) - 1))
        shares.setdefault(share, []).extend(parameters)
    return shares


def _adam(choice: OptimizerChoice, shares: _Shares) -> Optimizer:
    groups = [Group(weights=ps, rate=choice.learning_rate * s) for s, ps in shares.items()]
    return Adam(groups, choice.betas, choice.epsilon)


def _muon_and_sgd(
    choice: OptimizerChoice, shares: _Shares, batch_size: int, precision: torch.dtype | None
) -> list[Optimizer]:
    """Muon moves the filters; SGD with Nesterov momentum 0.85 the last layer and the biases."""
    filters, rest = [], []
    for share, parameters in shares.items():
        if some := [p for p in parameters if p.ndim == 4]:
            filters.append(Group(weights=some, rate=choice.learning_rate * share))
    for head, rate in ((True, choice.head_learning_rate), (False, choice.bias_learning_rate)):
        for share, parameters in shares.items():
            if some := [p for p in parameters if p.ndim < 4 and (p.ndim > 1) == head]:
                # The rates are for a loss summed over the batch; ours is its mean.
                decay = choice.weight_decay / rate
                rest.append(Group(weights=some, rate=rate * batch_size * share, decay=decay))
    moving: list[Optimizer] = [SGD(rest, momentum=0.85)]
    return [Muon(filters, choice.momentum, precision), *moving] if filters else moving


class Adam(Optimizer):
    """D. P. Kingma and J. Ba: Adam: A method for stochastic optimization. ICLR 2015, algorithm 1,
    with ε added to the root of the corrected second moment."""

    kinds = ("exp_avg", "exp_avg_sq")

    def __init__(self, groups: list[Group], betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups)
        self._betas, self._epsilon = betas, epsilon

    def _begun(self, weight: Tensor) -> dict[str, Tensor]:
        step = torch.zeros((), dtype=torch.float32, device=weight.device)
        return {"step": step, **super()._begun(weight)}

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float, decay: float
    ) -> None:
        adam(
            weights,
            gradients,
            self._means(weights, "exp_avg"),
            self._means(weights, "exp_avg_sq"),
            [],
            self._means(weights, "step"),
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=rate,
            weight_decay=decay,
            eps=self._epsilon,
            maximize=False,
        )


class _Momentum(Optimizer):
    """What follows the gradients of earlier steps too, each time ``momentum`` as much."""

    def __init__(self, groups: list[Group], momentum: float) -> None:
        super().__init__(groups)
        self._momentum = momentum


class SGD(_Momentum):
    """Stochastic gradient descent with Nesterov momentum, as PyTorch defines it."""

    kinds = ("momentum_buffer",)

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float, decay: float
    ) -> None:
        sgd(
            weights,
            gradients,
            list(self._means(weights, "momentum_buffer")),  # zeros are as good as none
            fused=True,
            weight_decay=decay,
            momentum=self._momentum,
            lr=rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )


class Muon(_Momentum):
    """Momentum whose update is brought near the closest orthogonal matrix.

    K. Jordan: Muon: An optimizer for hidden layers in neural networks, 2024. Filters O×I×h×w are
    seen as matrices O×(I·h·w); each is first rescaled to the norm √O. As in the source, the matrix
    products may be of a lower ``precision`` than the weights, which keep theirs.
    """

    kinds = ("momentum",)

    def __init__(
        self, groups: list[Group], momentum: float, precision: torch.dtype | None = None
    ) -> None:
        super().__init__(groups, momentum)
        self._precision = precision

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float, decay: float
    ) -> None:
        gradient_of = dict(zip(weights, gradients, strict=True))
        for alike in _alike(weights):
            self._orthogonal(alike, [gradient_of[weight] for weight in alike], rate)

    def _orthogonal(self, weights: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        """The update of filters of one shape, all at once."""
        running = self._means(weights, "momentum")
        torch._foreach_mul_(running, self._momentum)
        torch._foreach_add_(running, gradients)
        ahead = torch._foreach_add(gradients, running, alpha=self._momentum)  # Nesterov
        rows = len(weights[0])
        scales = [rows**0.5 / norm for norm in torch._foreach_norm(weights)]
        torch._foreach_mul_(weights, scales)
        ahead_BRC = torch.stack([a.reshape(rows, -1) for a in ahead])
        updates_BRC = orthogonalised(ahead_BRC.to(dtype=self._precision)).to(ahead_BRC.dtype)
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
