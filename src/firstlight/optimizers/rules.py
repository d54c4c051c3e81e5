"""Update rules, and the state that they keep for each weight between steps.

All but Muon use PyTorch's own functions for the arithmetic. They avoid its ``Optimizer`` classes,
because the first one to be created loads PyTorch's compiler: one second of a four-second training.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Weights with the same learning rate."""

    weights: list[nn.Parameter]
    rate: float
    """The peak learning rate."""
    decay: float = 0.0
    """Weight decay."""


def groups(shares: Mapping[float, list[nn.Parameter]], rate: float, decay: float) -> list[Group]:
    """Return one group for each multiplier of the learning rate."""
    return [Group(weights=ws, rate=rate * share, decay=decay) for share, ws in shares.items()]


class Rule(ABC):
    """An update rule, with the state that it keeps for each weight between steps."""

    kinds: tuple[str, ...]
    """Names of the running means stored per weight, each of the weight's shape."""

    def __init__(self, groups: list[Group]) -> None:
        self._groups = groups
        self.weights = [weight for group in groups for weight in group.weights]
        self.kept: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, factor: float | Tensor) -> None:
        """Update every weight that has a gradient, at ``factor`` times the peak rate.

        A CUDA graph reads the factor from a tensor, float32 without axes, on the device.
        """
        for group in self._groups:
            weights: list[Tensor] = [w for w in group.weights if w.grad is not None]
            self.begin([weight for weight in weights if weight not in self.kept])
            if weights:
                gradients = [w.grad for w in weights if w.grad is not None]
                self._move(weights, gradients, group.rate * factor, group.decay)

    def begin(self, weights: Iterable[Tensor]) -> None:
        """Create the state of weights before their first step."""
        self.kept |= {weight: self._begun(weight) for weight in weights}

    def _begun(self, weight: Tensor) -> dict[str, Tensor]:
        return {kind: torch.zeros_like(weight) for kind in self.kinds}

    def _means(self, weights: list[Tensor], kind: str) -> list[Tensor]:
        return [self.kept[weight][kind] for weight in weights]

    @abstractmethod
    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, decay: float
    ) -> None: ...


class AdamRule(Rule):
    """D. P. Kingma and J. Ba: Adam: A method for stochastic optimization. ICLR 2015, algorithm 1,
    with ε added to the root of the corrected second moment."""

    kinds = ("exp_avg", "exp_avg_sq")
    function: Callable[..., None] = staticmethod(adam)

    def __init__(self, groups: list[Group], betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups)
        self._betas, self._epsilon = betas, epsilon

    def _begun(self, weight: Tensor) -> dict[str, Tensor]:
        step = torch.zeros((), dtype=torch.float32, device=weight.device)
        return {"step": step, **super()._begun(weight)}

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, decay: float
    ) -> None:
        self.function(
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


class AdamWRule(AdamRule):
    """Adam with decoupled weight decay, as PyTorch defines it."""

    function: Callable[..., None] = staticmethod(adamw)


class RMSpropRule(Rule):
    """The gradient over the root of the running mean of its square, as PyTorch defines it."""

    kinds = ("square_avg", "momentum_buffer")

    def __init__(self, groups: list[Group], decay: float, momentum: float, epsilon: float) -> None:
        super().__init__(groups)
        self._decay, self._momentum, self._epsilon = decay, momentum, epsilon

    def _begun(self, weight: Tensor) -> dict[str, Tensor]:
        step = torch.zeros((), dtype=torch.float32, device=weight.device)
        return {"step": step, **super()._begun(weight)}

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, decay: float
    ) -> None:
        rmsprop(
            weights,
            gradients,
            self._means(weights, "square_avg"),
            [],
            self._means(weights, "momentum_buffer") if self._momentum > 0 else [],
            self._means(weights, "step"),
            lr=rate,  # type: ignore[arg-type]  # a tensor too, if capturable
            alpha=self._decay,
            eps=self._epsilon,
            weight_decay=decay,
            momentum=self._momentum,
            centered=False,
            foreach=True if isinstance(rate, Tensor) else None,
            capturable=isinstance(rate, Tensor),
        )


class SGDRule(Rule):
    """Stochastic gradient descent, as PyTorch defines it."""

    kinds = ("momentum_buffer",)

    def __init__(self, groups: list[Group], momentum: float, nesterov: bool) -> None:
        super().__init__(groups)
        self._momentum, self._nesterov = momentum, nesterov

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, decay: float
    ) -> None:
        sgd(
            weights,
            gradients,
            list(self._means(weights, "momentum_buffer")),  # zeros act like no buffer
            fused=True,
            weight_decay=decay,
            momentum=self._momentum,
            lr=rate,  # type: ignore[arg-type]  # a tensor too, if fused
            dampening=0.0,
            nesterov=self._nesterov,
            maximize=False,
        )


class MuonRule(Rule):
    """Momentum with an update close to the nearest orthogonal matrix.

    K. Jordan: Muon: An optimizer for hidden layers in neural networks, 2024. Filters O×I×h×w are
    treated as matrices O×(I·h·w). Each is first rescaled to the norm √O. As in the source, the
    matrix products may use a lower ``precision`` than the weights, which keep theirs.
    """

    kinds = ("momentum",)

    def __init__(
        self, groups: list[Group], momentum: float, precision: torch.dtype | None = None
    ) -> None:
        super().__init__(groups)
        self._momentum, self._precision = momentum, precision

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, decay: float
    ) -> None:
        gradient_of = dict(zip(weights, gradients, strict=True))
        for together in _together(weights):
            self._orthogonal(together, [gradient_of[weight] for weight in together], rate)

    def _orthogonal(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor
    ) -> None:
        """Update filters together, as matrices of one size: smaller ones are padded with zeros,
        which change neither their singular vectors nor their norm."""
        running = self._means(weights, "momentum")
        torch._foreach_mul_(running, self._momentum)
        torch._foreach_add_(running, gradients)
        ahead = torch._foreach_add(gradients, running, alpha=self._momentum)  # Nesterov
        scales = torch._foreach_reciprocal(torch._foreach_norm(weights))
        torch._foreach_mul_(scales, [len(weight) ** 0.5 for weight in weights])
        torch._foreach_mul_(weights, scales)
        rows, columns = _largest(weights)
        ahead_BRC = ahead[0].new_zeros((len(weights), rows, columns), dtype=self._precision)
        torch._foreach_copy_(_places(ahead_BRC, weights), ahead)
        updates_BRC = orthogonalised(ahead_BRC).to(ahead[0].dtype)
        if isinstance(rate, Tensor):
            torch._foreach_sub_(weights, _places(updates_BRC.mul_(rate), weights))
        else:
            torch._foreach_add_(weights, _places(updates_BRC, weights), alpha=-rate)


MOST_PADDING = 4
"""Numbers that padded matrices may have, for each number of the matrices themselves."""


def _together(weights: list[Tensor]) -> list[list[Tensor]]:
    """Group the filters whose updates are computed together.

    On a CPU grouping was no faster, so each is on its own. On an accelerator each small step costs
    a kernel launch: all wide matrices are together, and all tall ones, unless padding would be most
    of the work. Then only those of one shape are.
    """
    if not weights or weights[0].device.type == "cpu":
        return [[weight] for weight in weights]
    wide: dict[bool, list[Tensor]] = {}
    for weight in weights:
        rows, columns = _size(weight)
        wide.setdefault(rows <= columns, []).append(weight)
    found: list[list[Tensor]] = []
    for group in wide.values():
        rows, columns = _largest(group)
        if len(group) * rows * columns <= MOST_PADDING * sum(one.numel() for one in group):
            found.append(group)
        else:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for weight in group:
                shapes.setdefault(weight.shape, []).append(weight)
            found += shapes.values()
    return found


def _size(weight: Tensor) -> tuple[int, int]:
    """Return rows and columns of filters as a matrix."""
    return len(weight), weight.numel() // len(weight)


def _largest(weights: list[Tensor]) -> tuple[int, int]:
    sizes = [_size(weight) for weight in weights]
    return max(rows for rows, _ in sizes), max(columns for _, columns in sizes)


def _places(matrices_BRC: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Return each weight's part of its matrix, a view of the weight's shape."""
    return [
        matrix_RC[: len(weight), : weight.numel() // len(weight)].view(weight.shape)
        for matrix_RC, weight in zip(matrices_BRC.unbind(), weights, strict=True)
    ]


def orthogonalised(matrices_BRC: Tensor, steps: int = 3) -> Tensor:
    """Return B matrices with the inputs' singular vectors and singular values close to 1.

    This is the quintic Newton–Schulz iteration X ← aX + (bA + cA²)X with A = XXᵀ. Its coefficients
    make small singular values grow fast and leave them between about 0.7 and 1.2.
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
