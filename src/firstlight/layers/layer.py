"""What all layers have in common: a value that says what a layer takes, gives and costs.

A layer is a frozen dataclass of choices and needs no PyTorch; ``build`` alone imports it.
Shapes leave out the images' axis: ``(H, W, C)`` for maps of height H, width W and C channels,
``(F,)`` for F features, ``(T, F)`` for T tokens of F features each.
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
"""Stands for the number of classes, which the data decides."""


class Way(NamedTuple):
    """One of the lists of layers that a block sends its input through."""

    name: str
    """Of the list's module in the block's module."""
    number: str | None
    """What stands before the numbers of its layers, such as ``2.``; None where the recipe does not
    list them."""
    title: str
    """For people, such as ``branch 2``; empty for a block's own layers."""
    layers: tuple[Layer, ...]


@dataclass(frozen=True, repr=False)
class Layer(Part, ABC):
    """One layer of a network."""

    title: ClassVar[str]
    """Its name in a table, such as ``max-pooling``."""
    does: ClassVar[str] = ""
    """What it does to one picture's numbers, as a sentence for a beginner."""
    bends: ClassVar[bool] = False
    """Whether it is an activation, behind which a map says whether something was found."""
    one_size: ClassVar[bool] = False
    """Whether it takes, once built, maps of one size alone."""

    @abstractmethod
    def output(self, shape: Shape) -> Shape:
        """The shape that it gives for ``shape``. Raises ``UserError`` where it cannot take it."""

    @abstractmethod
    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        """The module for inputs of ``shape``, with initial weights from ``rng``."""

    def multiply_adds(self, shape: Shape) -> int:
        """Multiply-adds for one image whose ``shape`` comes in; what has no weights counts 0."""
        return 0

    def window(self, shape: Shape) -> tuple[int, int]:
        """Side of the window of an input of ``shape`` that one output pixel sees, and the step
        between windows, in input pixels; a side of 0 is all of the input."""
        return 1, 1

    def label(self) -> str:
        """What it is called, such as ``convolution`` or ``ReLU``."""
        return self.title

    def says(self) -> str:
        """``does``, of a layer with these choices."""
        return self.does

    def words(self) -> str:
        """What it is, with its choices, such as ``convolution, 32 filters of 3×3``."""
        changed = (f"{name.replace('_', ' ')} {value}" for name, value in self._changed())
        main = [f"{self.main} {getattr(self, self.main)}"] if self.main else []
        return ", ".join((self.label(), *main, *changed))

    def ways(self, shape: Shape) -> tuple[Way, ...]:
        """The lists that its input passes through side by side; none for a plain layer."""
        return ()

    def parts(self) -> tuple[Layer, ...]:
        """The layers that this one is short for; itself where it is short for none."""
        return (self,)

    def length(self) -> int:
        """How many layers it comes to, written out; a block and a branch count as one more."""
        return 1

    def inner(self) -> tuple[Layer, ...]:
        """The layers that it holds."""
        return ()

    def with_classes(self, classes: int) -> Layer:
        """The layer with ``"classes"`` replaced by their number."""
        return self


def maps(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    """The shape as maps. Raises ``UserError`` for features."""
    if len(shape) != 3:
        raise UserError(
            "it needs maps (height × width × channels); put it before flatten, dense and global "
            "pooling layers"
        )
    return shape[0], shape[1], shape[2]


def features(layer: Layer, shape: Shape) -> int:
    """The shape as a number of features. Raises ``UserError`` for maps."""
    if len(shape) != 1:
        raise UserError(
            "it needs features; put flatten, global-average-pool or global-max-pool before it. "
            "For a dense layer at each pixel, write a convolution with kernel = 1 instead"
        )
    return shape[0]


def shown(shape: Shape) -> str:
    """``maps of 26×26×32`` or ``64 features``."""
    if len(shape) == 3:
        return f"maps of {'×'.join(map(str, shape))}"
    if len(shape) == 2:
        return f"{shape[0]} tokens of {shape[1]} features"
    return f"{shape[0]} feature{'' if shape[0] == 1 else 's'}"
