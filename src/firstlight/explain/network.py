"""Run a network and observe its input and the output of each layer.

Axes: N images, H height, W width, C channels, K classes.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.layers import Flatten, Layer
from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]

Note = Callable[[str, nn.Module, Tensor], None]
"""Called with a layer's name, its module, and its output."""
TORCH_ACTIVATIONS = nn.ReLU.__module__


def model_input(model: nn.Module, preprocess: Preprocess, images_NHWC: UInt8Array) -> Tensor:
    """Return images as the model's input, float32 N×C×H×W, on its device."""
    device = next(model.parameters()).device
    return preprocess(torch.from_numpy(np.ascontiguousarray(images_NHWC)).to(device))


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and restore its mode at the end."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def layer_of(module: nn.Module) -> Layer | None:
    """Return the layer that a module was built from; None for the user's own module."""
    layer = module.__dict__.get("layer")
    return layer if isinstance(layer, Layer) else None


def is_activation(module: nn.Module) -> bool:
    """Whether it is an activation, firstlight's or PyTorch's."""
    layer = layer_of(module)
    return type(module).__module__ == TORCH_ACTIVATIONS if layer is None else layer.bends


def watched(model: nn.Module, pixels_NCHW: Tensor, note: Note) -> Tensor:
    """Return the model's logits N×K, and call ``note`` with each layer as it is computed, the
    scores last.

    A layer is a module built from a firstlight layer. Among other modules, it is one that has no
    submodules, or has weights of its own. Flattening is left out. If a model averages over views of
    an image, only the first view, which is the image itself, is noted. Later in-place layers do not
    change a noted output.
    """
    mine = threading.get_ident()  # a service runs the same modules for others meanwhile
    counts: Counter[str] = Counter()
    last: list[tuple[int, ...]] = []
    ended = False

    def listen(name: str) -> Callable[..., Tensor | None]:
        def heard(module: nn.Module, given: Any, result: Any) -> Tensor | None:
            nonlocal ended
            if threading.get_ident() != mine:
                return None
            counts[name] += 1
            ended = ended or (counts[name] > 1 and layer_of(module) is not None)
            if ended or not _is_result(result, len(pixels_NCHW)):
                return None
            last[:] = [tuple(result.shape)]
            note(name if counts[name] == 1 else f"{name} ({counts[name]})", module, result)
            copied: Tensor = result.clone()
            return copied

        return heard

    hooks = [module.register_forward_hook(listen(name)) for name, module in _layers(model)]
    try:
        with answering(model):
            logits_NK: Tensor = model(pixels_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
    if last != [tuple(logits_NK.shape)]:  # the user's own module computes more than its parts
        note("scores", model, logits_NK)
    return logits_NK


def _is_result(result: Any, images: int) -> bool:
    """Whether a module returned numbers for each image."""
    shape = result.shape if isinstance(result, Tensor) and result.is_floating_point() else ()
    return len(shape) > 1 and shape[0] == images


def _layers(module: nn.Module, before: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path, layer = f"{before}{name}", layer_of(child)
        holds = any(True for _ in child.children()) if layer is None else bool(layer.inner())
        if holds:
            yield from _layers(child, f"{path}.")
        has_weights = any(True for _ in child.parameters(recurse=False))
        shown = not isinstance(child, nn.Sequential | nn.Identity) and (not holds or has_weights)
        # Flattening gives the same numbers in a row.
        moves = isinstance(child, nn.Flatten) or isinstance(layer, Flatten)
        if (layer is not None or shown) and not moves:
            yield path, child
