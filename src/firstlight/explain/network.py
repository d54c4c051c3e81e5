"""A network at work: what goes in, and what each layer gives.

Axes: N images, H height, W width, C channels, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]

Note = Callable[[str, str, Tensor], None]
"""Called with the kind of a layer, the name of its module ("" where it has no weights), and what it
gave."""

CONVOLUTION, MAX_POOL, RELU, GELU = "convolution", "max-pool", "ReLU", "GELU"
BATCH_NORM, GLOBAL_MAX, DENSE = "batch norm", "global max-pool", "dense"

# Networks here call functions as well as modules, so functions are what is watched.
_KINDS: dict[Any, str] = {
    functional.conv2d: CONVOLUTION,
    functional.max_pool2d: MAX_POOL,
    functional.relu: RELU,
    torch.relu: RELU,
    Tensor.relu_: RELU,
    functional.gelu: GELU,
    functional.batch_norm: BATCH_NORM,
    Tensor.amax: GLOBAL_MAX,
    functional.linear: DENSE,
}


def model_input(model: nn.Module, preprocess: Preprocess, images_NHWC: UInt8Array) -> Tensor:
    """Images as the model takes them, float32 N×C×H×W, on its device."""
    device = next(model.parameters()).device
    return preprocess(torch.from_numpy(np.ascontiguousarray(images_NHWC)).to(device))


def last_dense(model: nn.Module) -> nn.Linear:
    """The layer that gives the classes' scores. Raises ``ValueError`` where there is none."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise ValueError("the network has no dense layer")
    return layers[-1]


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """The model as it answers, in evaluation mode; its own mode comes back at the end."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def watched(model: nn.Module, pixels_NCHW: Tensor, note: Note) -> Tensor:
    """The model's logits N×K; ``note`` hears of each layer as it is computed.

    Of a model that averages over views of an image, only the plain view is noted: it is the first,
    and ends with the first use of the last layer. A result may be overwritten after ``note``
    returns.
    """
    with answering(model), _Watch(model, note):
        logits_NK: Tensor = model(pixels_NCHW)
    return logits_NK


class _Watch(TorchFunctionMode):
    """Sees every function that PyTorch is asked to compute."""

    def __init__(self, model: nn.Module, note: Note) -> None:
        super().__init__()
        self._note, self._last, self._ended = note, last_dense(model).weight, False
        tensors = chain(model.named_parameters(), model.named_buffers())
        self._modules = {id(tensor): name.rpartition(".")[0] for name, tensor in tensors}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not self._ended and function in _KINDS:
            names = [self._modules[id(a)] for a in args if id(a) in self._modules]
            self._note(_KINDS[function], names[0] if names else "", result)
            self._ended = any(a is self._last for a in args)
        return result
