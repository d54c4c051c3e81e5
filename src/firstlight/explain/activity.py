"""What the maps of every layer give for many images: which images excite a map most, and which maps
are dead or saturated.

Axes: N images, B images of a batch, C maps, P positions in a map, T images that excite a map most.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.evaluate.predict import Images, batch_size, pixels_seen
from firstlight.explain.layers import Grids, as_maps_of_each, token_grids
from firstlight.explain.network import is_activation, layer_of, model_input, watched
from firstlight.layers import Activation
from firstlight.pixels import Preprocess

MOST_EXCITING = 9
"""T: images noted for each map."""
SATURATED = 0.01
"""A sigmoid's or tanh's result is saturated if it is this close to an end of its range, as a share
of the range. The slope there is less than 4 % of the steepest."""
_RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_MODULES = {nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerActivity:
    """What one layer's maps gave for N images."""

    name: str
    """As in ``LayerMaps``."""
    kind: str
    """As in ``LayerMaps``."""
    is_activation: bool
    """Whether it is an activation, such as a ReLU."""
    off_C: npt.NDArray[np.float64]
    """Share of each map's numbers that are not above zero, over all images. After a ReLU these are
    zeros."""
    saturated_C: npt.NDArray[np.float64] | None
    """Share of each map's numbers that are saturated; None unless it is a sigmoid or tanh."""
    images_CT: npt.NDArray[np.int64]
    """Indices of the images with the largest numbers in each map, the largest first, equal ones by
    index. T is at most ``MOST_EXCITING``."""
    values_CT: npt.NDArray[np.float32]
    """Those numbers."""

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Which maps were never above zero."""
        dead_C: npt.NDArray[np.bool_] = self.values_CT[:, 0] <= 0
        return dead_C


def activity(
    model: nn.Module,
    preprocess: Preprocess,
    images_NHWC: Images,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerActivity]:
    """Return the activity of every layer for N ≥ 1 images, in the order of ``layer_maps``.

    If the model averages over views, only the images themselves are used. Only one batch of images
    is in memory at a time. ``progress`` is called with the number done and the total.
    """
    device = next(model.parameters()).device
    size, count = batch_size(device, pixels_seen(model, preprocess)), len(images_NHWC)
    counting: list[_Counting] = []
    grids = token_grids(model)
    for start in range(0, count, size):
        images_BHWC = images_NHWC[slice(start, start + size)]
        number = 0

        def note(name: str, module: nn.Module, result: Tensor, start: int = start) -> None:
            nonlocal number
            if number == len(counting):
                counting.append(_Counting(name, module))
            counting[number].add(result, grids, start)
            number += 1
            if start and number == len(counting):  # other views of the images do not count
                raise _EnoughError

        with torch.inference_mode(), suppress(_EnoughError):
            watched(model, model_input(model, preprocess, images_BHWC), note)
        if progress is not None:
            progress(min(start + size, count), count)
    return [one.done() for one in counting]


def dead_maps(layers: Sequence[LayerActivity]) -> int:
    """Return how many maps of all activations were never above zero."""
    return sum(int(layer.dead.sum()) for layer in layers if layer.is_activation)


class _EnoughError(Exception):
    """Ends a forward pass after its last layer."""


class _Counting:
    """One layer's numbers so far."""

    def __init__(self, name: str, module: nn.Module) -> None:
        layer = layer_of(module)
        self._name, self._module = name, module
        self._kind = type(module).__name__ if layer is None else layer.label()
        function = layer.name if isinstance(layer, Activation) else _MODULES.get(type(module))
        self._range = _RANGES.get(function or "")
        none = torch.zeros((), dtype=torch.int64)
        self._off_C, self._saturated_C, self._numbers = none, none, 0
        self._values_TC: Tensor | None = None
        self._images_TC: Tensor | None = None

    def add(self, result_B: Tensor, grids: Grids, start: int) -> None:
        """Count a batch, whose first image has the index ``start``."""
        values_BCP = as_maps_of_each(result_B, grids).flatten(2).float().cpu()
        self._numbers += len(values_BCP) * values_BCP.shape[2]
        self._off_C = self._off_C + (values_BCP <= 0).sum((0, 2))
        if self._range is not None:
            low, high = self._range
            near = SATURATED * (high - low)
            ends_BCP = (values_BCP < low + near) | (values_BCP > high - near)
            self._saturated_C = self._saturated_C + ends_BCP.sum((0, 2))
        largest_BC = values_BCP.amax(2)
        images_BC = torch.arange(start, start + len(largest_BC))[:, None].expand_as(largest_BC)
        if self._values_TC is not None and self._images_TC is not None:
            largest_BC = torch.cat([self._values_TC, largest_BC])
            images_BC = torch.cat([self._images_TC, images_BC])
        order_BC = largest_BC.argsort(dim=0, descending=True, stable=True)[:MOST_EXCITING]
        self._values_TC = largest_BC.gather(0, order_BC)
        self._images_TC = images_BC.gather(0, order_BC)

    def done(self) -> LayerActivity:
        """The result."""
        assert self._values_TC is not None and self._images_TC is not None
        return LayerActivity(
            name=self._name,
            kind=self._kind,
            is_activation=is_activation(self._module),
            off_C=self._off_C.double().numpy() / self._numbers,
            saturated_C=None
            if self._range is None
            else self._saturated_C.double().numpy() / self._numbers,
            images_CT=self._images_TC.T.contiguous().numpy(),
            values_CT=self._values_TC.T.contiguous().numpy(),
        )
