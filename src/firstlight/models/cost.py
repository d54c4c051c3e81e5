"""What a network holds, and the memory that one batch of training takes.

Axes: N images, C channels, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from firstlight.models.blocks import Dropout


def held(module: nn.Module) -> tuple[int, int]:
    """Numbers that are trained, and numbers that are kept beside them: filters that are set, and
    the running statistics of batch norm."""
    tensors = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
    trained = sum(t.numel() for t in tensors if t.requires_grad)
    return trained, sum(t.numel() for t in tensors) - trained


def training_bytes(model: nn.Module, pixels_NCHW: Tensor, moments: int) -> int:
    """An estimate of the memory that a step of training needs at its peak, in bytes of float32.

    The weights, their gradients and ``moments`` numbers of the optimizer for each; the maps that
    the gradient needs, as PyTorch keeps them; and, where it is most, twice the maps that one layer
    takes and gives, for their gradients and for copies in the processor's own order. Measured on a
    CPU beside four networks, it was between a quarter too little and a twentieth too much. Model
    and pixels are on the ``meta`` device, so nothing is computed.
    """
    trained, fixed = held(model)
    kept: dict[int, Tensor] = {}  # by storage: views and in-place results share one
    counted = {_storage(t) for t in (*model.parameters(), *model.buffers(), pixels_NCHW)}
    peak = 0

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in counted:
            kept[_storage(tensor)] = tensor
        return tensor

    def measure(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        nonlocal peak
        working = 2 * (_bytes(result) + sum(map(_bytes, given)))
        peak = max(peak, working + sum(t.untyped_storage().nbytes() for t in kept.values()))

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(measure) for leaf in leaves]
    try:
        with _coins(model), torch.enable_grad(), saved_tensors_hooks(keep, lambda t: t):
            model.train()(pixels_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return 4 * ((2 + moments) * trained + fixed) + _bytes(pixels_NCHW) + peak


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


@contextmanager
def _coins(model: nn.Module) -> Iterator[None]:
    """A generator for dropout, as training gives it one."""
    drops = [module for module in model.modules() if isinstance(module, Dropout)]
    before = [module.rng for module in drops]
    for module in drops:
        module.rng = Generator()
    try:
        yield
    finally:
        for module, rng in zip(drops, before, strict=True):
            module.rng = rng
