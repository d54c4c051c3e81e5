"""The base class of all layers: a value that says what a layer accepts, returns and costs.

A layer is a frozen dataclass of settings. It needs no PyTorch; only ``build`` imports it. Shapes
leave out the batch axis: ``(H, W, C)`` for maps of height H, width W and C channels, ``(F,)`` for F
features, ``(T, F)`` for T tokens of F features each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from firstlight.errors import UserError
from firstlight.parts import Part

if TYPE_CHECKING:
    from torch import Generator, nn

Shape = tuple[int, ...]
CLASSES = "classes"
"""A placeholder for the number of classes, which the data decides."""


class Way(NamedTuple):
    """One of the lists of layers through which a block sends its input."""

    name: str
    """Name of the list's module in the block's module."""
    number: str | None
    """Prefix of the layer numbers, such as ``2.``; None if the recipe does not list these
    layers."""
    title: str
    """Title to display, such as ``branch 2``; empty for a block's own layers."""
    layers: tuple[Layer, ...]


@dataclass(frozen=True, repr=False)
class Layer(Part, ABC):
    """One layer of a network."""

    title: ClassVar[str]
    """Name in a table, such as ``max-pooling``."""
    does: ClassVar[str] = ""
    """What the layer does to one picture, as a sentence for beginners."""
    bends: ClassVar[bool] = False
    """Whether it is an activation, after which a map shows whether something was found."""
    one_size: ClassVar[bool] = False
    """Whether the built layer accepts maps of only one size."""

    @abstractmethod
    def output(self, shape: Shape) -> Shape:
        """Return the output shape for inputs of ``shape``. Raises ``UserError`` if it does not
        fit."""

    @abstractmethod
    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        """Return the module for inputs of ``shape``, with initial weights drawn from ``rng``."""

    def multiply_adds(self, shape: Shape) -> int:
        """Return the multiply-adds for one image of ``shape``. A layer without weights counts 0."""
        return 0

    def window(self, shape: Shape) -> tuple[int, int]:
        """Return the side of the window that one output pixel sees, and the step between windows,
        in input pixels, for inputs of ``shape``. A side of 0 means the whole input."""
        return 1, 1

    def label(self) -> str:
        """Name of the layer, such as ``convolution`` or ``ReLU``."""
        return self.title

    def says(self) -> str:
        """``does`` for a layer with these settings."""
        return self.does

    def words(self) -> str:
        """Description with settings, such as ``convolution, 32 filters of 3×3``."""
        changed = (f"{name.replace('_', ' ')} {value}" for name, value in self._changed())
        main = [f"{self.main} {getattr(self, self.main)}"] if self.main else []
        return ", ".join((self.label(), *main, *changed))

    def ways(self, shape: Shape) -> tuple[Way, ...]:
        """The lists that the input passes through in parallel; none for a plain layer."""
        return ()

    def parts(self) -> tuple[Layer, ...]:
        """The layers that this one abbreviates; itself if it abbreviates none."""
        return (self,)

    def length(self) -> int:
        """Number of layers after expansion; a block or branch counts as one more."""
        return 1

    def inner(self) -> tuple[Layer, ...]:
        """The layers inside this one."""
        return ()

    def with_classes(self, classes: int) -> Layer:
        """Return the layer with ``"classes"`` replaced by the number of classes."""
        return self


def maps(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    """Return the shape as maps. Raises ``UserError`` if it is not maps."""
    if len(shape) != 3:
        raise UserError(
            "it needs maps (height × width × channels); put it before flatten, dense and global "
            "pooling layers"
        )
    return shape[0], shape[1], shape[2]


def features(layer: Layer, shape: Shape) -> int:
    """Return the number of features. Raises ``UserError`` if the shape is maps."""
    if len(shape) != 1:
        raise UserError(
            "it needs features; put flatten, global-average-pool or global-max-pool before it. "
            "For a dense layer at each pixel, write a convolution with kernel = 1 instead"
        )
    return shape[0]


def shown(shape: Shape) -> str:
    """Format a shape: ``maps of 26×26×32`` or ``64 features``."""
    if len(shape) == 3:
        return f"maps of {'×'.join(map(str, shape))}"
    if len(shape) == 2:
        return f"{shape[0]} tokens of {shape[1]} features"
    return f"{shape[0]} feature{'' if shape[0] == 1 else 's'}"
