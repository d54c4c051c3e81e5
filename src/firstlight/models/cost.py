"""The numbers that a network stores, and the memory for one batch of training.

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
    """Return the count of trained numbers, and of numbers stored but not trained: fixed filters and
    the running statistics of batch norm."""
    tensors = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
    trained = sum(t.numel() for t in tensors if t.requires_grad)
    return trained, sum(t.numel() for t in tensors) - trained


def training_bytes(
    model: nn.Module, pixels_NCHW: Tensor, moments: int, *, mixed: bool = False
) -> int:
    """Estimate the peak bytes of all tensors in a training step.

    It adds up the weights, their gradients, and ``moments`` optimizer numbers per weight; the maps
    that PyTorch keeps for the gradient; and the input and output of the current layer, twice,
    because the backward pass has gradients of the same size. With ``mixed``, maps and a copy of the
    weights are in bfloat16. On a CPU whose freed memory returns to the system at once, the estimate
    was within a tenth of the step's resident memory (``tests/models/test_summary.py``). Model and
    pixels are on the ``meta`` device, so nothing is computed. ``mixed`` leaves the model in
    bfloat16.
    """
    trained, fixed = held(model)
    always = 4 * ((2 + moments) * trained + fixed) + _bytes(pixels_NCHW)
    if mixed:
        model, pixels_NCHW = model.to(torch.bfloat16), pixels_NCHW.to(torch.bfloat16)
        always += 2 * trained + _bytes(pixels_NCHW)
    kept: dict[int, Tensor] = {}  # by storage, because views and in-place results share one
    counted = {_storage(t) for t in (*model.parameters(), *model.buffers(), pixels_NCHW)}
    peak = 0

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in counted:
            kept[_storage(tensor)] = tensor
        return tensor

    def measure(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        nonlocal peak
        working = _bytes(result) + sum(map(_bytes, given))
        peak = max(peak, working + sum(t.untyped_storage().nbytes() for t in kept.values()))

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(measure) for leaf in leaves]
    try:
        with _coins(model), torch.enable_grad(), saved_tensors_hooks(keep, lambda t: t):
            model.train()(pixels_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return always + peak


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


@contextmanager
def _coins(model: nn.Module) -> Iterator[None]:
    """Give dropout a generator, as training does."""
    drops = [module for module in model.modules() if isinstance(module, Dropout)]
    before = [module.rng for module in drops]
    for module in drops:
        module.rng = Generator()
    try:
        yield
    finally:
        for module, rng in zip(drops, before, strict=True):
            module.rng = rng
