"""A running mean of the weights, often better than the last ones."""

from copy import deepcopy

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a network's weights and batch statistics.

    After step t (from 1) the average moves towards the weights by 1 - min(decay, t / (t + 9)). The
    averaging window is short at first, so that the untrained start is soon forgotten, and later
    about 1 / (1 - decay) steps (Tarvainen and Valpola 2017, section 2).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = deepcopy(model).eval().requires_grad_(False)
        self._mine = _numbers(self.model)
        self._theirs = _numbers(model)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after step ``step``, counted from 1."""
        decay = min(self.decay, step / (step + 9))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)


def _numbers(model: nn.Module) -> list[torch.Tensor]:
    """Weights and statistics, without counters, which nothing reads. Tensors shared by two layers
    are listed once."""
    tensors = [t.detach() for t in model.state_dict().values() if t.is_floating_point()]
    return list({(t.data_ptr(), t.shape) if t.numel() else id(t): t for t in tensors}.values())
