"""Layers that contain layers: residual blocks, branches, repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice, number
from firstlight.errors import UserError
from firstlight.layers.activation import ACTIVATIONS, Activation, followed_by
from firstlight.layers.conv import MOST_STRIDE, Conv
from firstlight.layers.layer import Layer, Shape, Way, maps, shown
from firstlight.layers.norm import BatchNorm
from firstlight.layers.pool import AveragePool, MaxPool
from firstlight.layers.sequence import check_list, shapes
from firstlight.layers.whiten import Whiten
from firstlight.plain import shown as quoted

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """Add the input to the output of a list of layers (He et al. 2016, section 3).

    If the shapes differ, the input first passes through a 1×1 convolution (option B of the paper),
    followed by batch norm if the list contains one.
    """

    kind: ClassVar[str] = "residual"
    title: ClassVar[str] = "residual block"
    does: ClassVar[str] = (
        "The output of the block's layers is added to the block's input, so they only have to "
        "learn the difference."
    )
    main: ClassVar[str] = "layers"
    example: ClassVar[str] = 'Residual([Conv(32, padding="same")])'

    layers: tuple[Layer, ...]
    """The layers of the residual path."""
    _: KW_ONLY
    activation: str = choice("relu", "none", *ACTIVATIONS)
    """The activation after the addition."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_list(self.layers, "layers"))
        self._check({"layers"})

    def shortcut(self, shape: Shape) -> tuple[Layer, ...]:
        """The layers of the shortcut: none if the shapes agree."""
        return self._shortcut(shape, shapes(self.layers, shape)[-1])

    def _shortcut(self, shape: Shape, behind: Shape) -> tuple[Layer, ...]:
        if behind == shape:
            return ()
        if len(behind) != 3:
            raise UserError(
                f"its layers give {shown(behind)}, which cannot be added to {shown(shape)}. Make "
                "their output the size of their input"
            )
        projection = self._projection(maps(self, shape), behind)
        normed = any(isinstance(layer, BatchNorm) for layer in self.layers)
        return (projection, BatchNorm()) if normed else (projection,)

    def _projection(self, shape: tuple[int, int, int], behind: Shape) -> Conv:
        """The 1×1 convolution from one shape to the other. It has the stride of the layers if
        possible."""
        least = max(-(-shape[0] // behind[0]), -(-shape[1] // behind[1]))
        for stride in (_stride(self.layers), least):
            if 1 <= stride <= MOST_STRIDE:
                conv = Conv(behind[2], kernel=1, stride=stride, padding="same", bias=False)
                if conv.output(shape) == behind:
                    return conv
        raise UserError(
            f"its layers give {shown(behind)}, and no 1×1 convolution brings {shown(shape)} to "
            'that, so the two cannot be added; use padding = "same" inside'
        )

    def length(self) -> int:
        return 1 + sum(layer.length() for layer in self.layers)

    def output(self, shape: Shape) -> Shape:
        behind = shapes(self.layers, shape)[-1]  # once: twice would double with each nested block
        self._shortcut(shape, behind)
        return behind

    def multiply_adds(self, shape: Shape) -> int:
        return _work(self.layers, shape) + _work(self.shortcut(shape), shape)

    def parts(self) -> tuple[Layer, ...]:
        if self.activation == "none":
            return (self,)
        return replace(self, activation="none"), Activation(self.activation)

    def inner(self) -> tuple[Layer, ...]:
        return self.layers

    def with_classes(self, classes: int) -> Layer:
        return replace(self, layers=tuple(one.with_classes(classes) for one in self.layers))

    def ways(self, shape: Shape) -> tuple[Way, ...]:
        short = Way("shortcut", None, "shortcut", self.shortcut(shape))
        return Way("layers", "", "", self.layers), short

    def window(self, shape: Shape) -> tuple[int, int]:
        return _widest(self.ways(shape), shape)

    def words(self) -> str:
        return f"{self.title}{followed_by(self.activation)}"

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.network import Residual as Module

        return Module(self, shape, rng)


@dataclass(frozen=True, repr=False)
class Branches(Layer):
    """Run several lists of layers on the same input and join their outputs (Szegedy et al. 2015,
    section 4). An empty list passes the input through."""

    kind: ClassVar[str] = "branches"
    title: ClassVar[str] = "branches"
    does: ClassVar[str] = "All branches get the same input. Their outputs are joined."
    main: ClassVar[str] = "branches"
    example: ClassVar[str] = "Branches([[Conv(8)], [Conv(16)]])"

    branches: tuple[tuple[Layer, ...], ...]
    """The lists, two or more."""
    _: KW_ONLY
    join: str = choice("concatenate", "concatenate", "add")
    """``concatenate``: join along channels or features. ``add``: element-wise sum."""

    def __post_init__(self) -> None:
        lists = self.branches if isinstance(self.branches, list | tuple) else ()
        if len(lists) < 2 or any(isinstance(one, Layer) for one in lists):
            raise UserError(
                "branches must be a list of two lists of layers or more, such as "
                "[[Conv(8)], [Conv(16)]], in a recipe [[{ conv = 8 }], [{ conv = 16 }]], not "
                f"{quoted(self.branches)}"
            )
        checked = tuple(
            () if one in ([], ()) else check_list(one, f"branch {number}")
            for number, one in enumerate(lists, start=1)
        )
        object.__setattr__(self, "branches", checked)
        self._check({"branches"})

    def length(self) -> int:
        return len(self.branches) + sum(layer.length() for one in self.branches for layer in one)

    def output(self, shape: Shape) -> Shape:
        behind = [
            shapes(one, shape, within=f"{at}.")[-1] for at, one in enumerate(self.branches, start=1)
        ]
        first = behind[0]
        for at, other in enumerate(behind[1:], start=2):
            fits = other == first if self.join == "add" else other[:-1] == first[:-1]
            if not fits or len(other) != len(first):
                adds = self.join == "add"
                alike = "of the same shape" if adds else "of the same height and width"
                raise UserError(
                    f"its branches must output maps or features {alike} to be "
                    f"{'added' if adds else 'concatenated'}; branch 1 gives {shown(first)}, "
                    f"branch {at} gives {shown(other)}"
                )
        if self.join == "add":
            return first
        return (*first[:-1], sum(one[-1] for one in behind))

    def multiply_adds(self, shape: Shape) -> int:
        return sum(_work(one, shape) for one in self.branches)

    def inner(self) -> tuple[Layer, ...]:
        return tuple(layer for one in self.branches for layer in one)

    def with_classes(self, classes: int) -> Layer:
        lists = tuple(tuple(one.with_classes(classes) for one in b) for b in self.branches)
        return replace(self, branches=lists)

    def ways(self, shape: Shape) -> tuple[Way, ...]:
        return tuple(
            Way(f"branch{at}", f"{at}.", f"branch {at}", layers)
            for at, layers in enumerate(self.branches, start=1)
        )

    def window(self, shape: Shape) -> tuple[int, int]:
        return _widest(self.ways(shape), shape)

    def words(self) -> str:
        joined = "added" if self.join == "add" else "concatenated"
        return f"{len(self.branches)} {self.title}, {joined}"

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.network import Branches as Module

        return Module(self, shape, rng)


@dataclass(frozen=True, repr=False)
class Repeat(Layer):
    """Repeat a list of layers. Each repetition has its own weights."""

    kind: ClassVar[str] = "repeat"
    title: ClassVar[str] = "repeat"
    main: ClassVar[str] = "times"

    times: int = number(2, least=1, most=1000)
    """Number of repetitions."""
    layers: tuple[Layer, ...] = ()
    """The layers to repeat."""

    def __post_init__(self) -> None:
        if not isinstance(self.times, int) and isinstance(self.times, list | tuple):
            raise UserError(
                "repeat takes the number of times first, then the layers: Repeat(3, "
                "layers=[...]), or { repeat = 3, layers = [...] }; it got "
                f"{quoted(self.times)}"
            )
        object.__setattr__(self, "layers", check_list(self.layers, "layers"))
        self._check({"layers"})

    def length(self) -> int:
        return self.times * sum(layer.length() for layer in self.layers)

    def parts(self) -> tuple[Layer, ...]:
        return self.layers * self.times

    def output(self, shape: Shape) -> Shape:
        for time in range(1, self.times + 1):
            when = f" (time {time} of {self.times})" if time > 1 else ""
            shape = shapes(self.layers, shape, when=when)[-1]
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        return _work(self.parts(), shape)

    def inner(self) -> tuple[Layer, ...]:
        return self.layers

    def with_classes(self, classes: int) -> Layer:
        return replace(self, layers=tuple(one.with_classes(classes) for one in self.layers))

    def window(self, shape: Shape) -> tuple[int, int]:
        return window(self.parts(), shape)

    def words(self) -> str:
        return f"{self.title}, {self.times} times"

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.network import Chain

        return Chain(self.parts(), shape, rng)


def _stride(layers: Sequence[Layer]) -> int:
    """The combined stride of the layers, computed from their settings alone."""
    stride = 1
    for layer in layers:
        if isinstance(layer, Branches):
            stride *= max(map(_stride, layer.branches))
        elif isinstance(layer, Residual | Repeat):
            times = layer.times if isinstance(layer, Repeat) else 1
            stride *= _stride(layer.layers) ** times
        elif isinstance(layer, Conv | MaxPool | AveragePool | Whiten):
            stride *= layer.stride or layer.window(())[1]
    return stride


def window(
    layers: Sequence[Layer], shape: Shape, before: tuple[int, int] = (1, 1)
) -> tuple[int, int]:
    """Return the side of one output pixel's receptive field, and its stride, in input pixels.

    See Araujo et al. 2019, equation 2. A side of 0 means the whole input. ``before`` is the
    receptive field and stride of one pixel of ``shape``.
    """
    side, step = before
    for layer, inner in zip(layers, shapes(layers, shape), strict=False):
        wide, far = layer.window(inner)
        side = 0 if side == 0 or wide == 0 else side + (wide - 1) * step
        step *= far
    return side, step


def _widest(ways: Sequence[Way], shape: Shape) -> tuple[int, int]:
    sides, steps = zip(*(window(way.layers, shape) for way in ways), strict=True)
    return 0 if 0 in sides else max(sides), max(steps)


def _work(layers: tuple[Layer, ...], shape: Shape) -> int:
    before = shapes(layers, shape)
    return sum(layer.multiply_adds(one) for layer, one in zip(layers, before, strict=False))
