"""Dense layers, and the layer that flattens maps to features."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from math import prod
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import choice, typed
from firstlight.errors import UserError
from firstlight.layers.activation import ACTIVATIONS, SOFTMAX, Activation, followed_by
from firstlight.layers.initial import INITIAL
from firstlight.layers.layer import CLASSES, Layer, Shape, features

if TYPE_CHECKING:
    from torch import Generator, nn

_MOST = 65536


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """Flatten maps to features in the order height, width, channels; flatten tokens one after
    another."""

    kind: ClassVar[str] = "flatten"
    title: ClassVar[str] = "flatten"
    one_size: ClassVar[bool] = True
    does: ClassVar[str] = "The numbers of all maps are put in one row, unchanged."

    def output(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import Flatten as Module

        return Module()


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """A weighted sum of all features for each unit. Tokens are processed separately."""

    kind: ClassVar[str] = "dense"
    title: ClassVar[str] = "dense"
    main: ClassVar[str] = "units"
    example: ClassVar[str] = 'Dense(64), or Dense("classes") for the last layer'
    does: ClassVar[str] = "Each value is a weighted sum of all values before it."

    units: int | str
    """Number of output features, 1 to 65,536; or ``"classes"`` for one per class, as in a
    classifier's last layer."""
    _: KW_ONLY
    bias: bool = True
    """Whether each unit has a trained bias."""
    activation: str = choice("none", "none", *ACTIVATIONS)
    """The activation after the layer."""
    init: str = choice("glorot", *(name for name in INITIAL if name != "dirac"))
    """How to initialize the weights."""

    def __post_init__(self) -> None:
        if self.units != CLASSES:
            if isinstance(self.units, str):
                raise UserError(f'units must be a whole number, or "{CLASSES}", not {self.units!r}')
            units = typed(self.units, int, label="units")
            object.__setattr__(self, "units", units)
            if not 1 <= units <= _MOST:
                raise UserError(f'units must be 1 to {_MOST:,} or "{CLASSES}", not {units}')
        if self.activation == "softmax":
            raise UserError(SOFTMAX)
        self._check({"units"})
        if self.units == CLASSES and self.activation != "none":
            raise UserError(
                f'the last layer, dense = "{CLASSES}", gives scores (logits), which softmax '
                f'turns into probabilities. Leave out its activation = "{self.activation}"'
            )

    def output(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            features(self, shape)
        if isinstance(self.units, str):
            raise ValueError("the number of classes is not known yet: with_classes")
        return (*shape[:-1], self.units)

    def window(self, shape: Shape) -> tuple[int, int]:
        return (1, 1) if len(shape) == 2 else (0, 1)

    def words(self) -> str:
        what = "one unit for each class" if self.units == CLASSES else f"{self.units:,} units"
        return f"{self.title}, {what}{followed_by(self.activation)}"

    def multiply_adds(self, shape: Shape) -> int:
        return shape[-1] * prod(self.output(shape))

    def parts(self) -> tuple[Layer, ...]:
        if self.activation == "none":
            return (self,)
        return replace(self, activation="none"), Activation(self.activation)

    def with_classes(self, classes: int) -> Layer:
        return replace(self, units=classes) if self.units == CLASSES else self

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import dense

        return dense(self, shape, rng)
