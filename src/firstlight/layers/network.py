"""Which network: its layers, what it takes, and what an answer is averaged over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from firstlight.checked import Checked, choice
from firstlight.errors import UserError
from firstlight.layers.activation import Activation
from firstlight.layers.dense import Dense
from firstlight.layers.dropout import Dropout, SpatialDropout
from firstlight.layers.layer import CLASSES, Layer
from firstlight.layers.networks import tutorial
from firstlight.layers.norm import BatchNorm
from firstlight.layers.own_code import OwnCode, own_code
from firstlight.layers.sequence import check_list, written_out
from firstlight.parts import plain_value

if TYPE_CHECKING:
    from firstlight.layers.summary import Summary

MOST_LAYERS = 1000
"""In a network, with every repeat written out."""
MOST_NESTED = 12
"""Layers within one another; files of a network can then be read back within their bounds."""


@dataclass(frozen=True, kw_only=True)
class Network(Checked):
    """A network of known layers, as a value; or code of one's own, as its record."""

    example: ClassVar[str] = 'Network(layers=[Flatten(), Dense("classes")])'

    layers: tuple[Layer, ...] = tutorial()
    """One after another; ``dense = "classes"`` gives the scores."""
    pixels: str = choice("scale", "scale", "standardize")
    """What goes in: pixels from 0 to 1, or those minus the training images' mean of each channel,
    over its standard deviation."""
    views: str = choice("one", "one", "shift", "mirror", "mirror-and-shift")
    """Test-time augmentation: what an answer is averaged over. The image; with it, itself shifted
    by one pixel to each side; its mirror image; or that and both shifted by one pixel to either
    corner."""
    code: OwnCode | None = None
    """In place of layers: the function that makes the network. It is run only where it is named."""

    def __post_init__(self) -> None:
        if self.code is not None:
            self._check_code()
            return
        object.__setattr__(self, "layers", check_list(self.layers, "layers"))
        self._check({"layers", "code"})
        _check_nesting(self.layers)
        if (length := sum(layer.length() for layer in self.layers)) > MOST_LAYERS:
            raise UserError(f"layers must be at most {MOST_LAYERS:,} written out, not {length:,}")
        _check_last(self.layers)

    def _check_code(self) -> None:
        if self.layers not in ((), tutorial()):
            raise UserError("layers and code both define the network; leave one out")
        object.__setattr__(self, "layers", ())
        self._check({"layers", "code"})
        if self.views != "one":
            raise UserError(
                f'views = "{self.views}" is for networks made of known layers; code can average '
                "over views in its own forward"
            )

    @property
    def any_size(self) -> bool:
        """Whether the network takes images of any size, and not of one alone. Of code nobody
        knows."""
        return self.code is None and not any(one.one_size for one in written_out(self.layers))

    @property
    def needs_two(self) -> bool:
        """Whether it learns from two images at a time or more, as batch norm does; code may."""
        return self.code is not None or self.has(BatchNorm)

    @property
    def drops(self) -> bool:
        """Whether training draws random numbers inside the network; code may."""
        return self.code is not None or self.has(Dropout) or self.has(SpatialDropout)

    def has(self, kind: type[Layer]) -> bool:
        """Whether a layer of this kind is in it, at any depth."""
        return any(isinstance(layer, kind) for layer in written_out(self.layers))

    def summary(
        self, image_shape: Sequence[int], classes: int, *, batch_size: int = 32
    ) -> "Summary":
        """What the network comes to for images of height, width and channels: of each layer its
        name, output shape, parameters, multiply-adds and receptive field; totals; and the memory
        that one batch takes in training with Adam.

        ``print`` shows a table. Raises ``UserError`` where the network does not fit the images.
        """
        from firstlight.layers.summary import summarize

        return summarize(self, image_shape, classes, batch_size=batch_size)

    def diagram(self, image_shape: tuple[int, int, int], classes: int) -> str:
        """The network drawn as SVG text: boxes to scale of their maps, residual paths, branches.

        Raises ``UserError`` where the network does not fit images of height, width and channels.
        """
        from firstlight.layers.diagram import diagram

        return diagram(self, image_shape, classes)

    def to_table(self) -> dict[str, Any]:
        """The network as a recipe's table."""
        table: dict[str, Any] = {"pixels": self.pixels, "views": self.views}
        if self.code is not None:
            return {**table, "code": self.code.to_table()}
        return {**table, "layers": plain_value(self.layers)}


def _check_last(layers: Sequence[Layer]) -> None:
    """Raise ``UserError`` unless one layer, near the end, gives the score of each class."""
    wanted = f'layers must end with dense = "{CLASSES}", which gives the score of each class'
    at = [n for n, one in enumerate(layers) if isinstance(one, Dense) and one.units == CLASSES]
    if len(at) > 1:
        raise UserError(f"{wanted}, but it occurs {len(at)} times; keep the last")
    if not at:
        every = list(written_out(layers))
        if any(isinstance(one, Dense) and one.units == CLASSES for one in every):
            raise UserError(f"{wanted}; it is inside another layer: put it after that layer")
        last = layers[-1]
        instead = f", instead of dense = {last.units}" if isinstance(last, Dense) else ""
        raise UserError(f"{wanted}; write it at the end{instead}")
    for number, one in enumerate(layers[at[0] + 1 :], start=at[0] + 2):
        if isinstance(one, Activation | Dropout | SpatialDropout):
            raise UserError(
                f'layer {number} ({one.title}) comes after dense = "{CLASSES}", whose scores '
                "softmax turns into probabilities; leave it out"
            )
        if isinstance(one, Dense):
            raise UserError(
                f'layer {number} ({one.title}) comes after dense = "{CLASSES}", and {wanted}; put '
                "it before that, or leave it out"
            )


def _check_nesting(layers: Sequence[Layer]) -> None:
    """Raise ``UserError`` where they are nested too deep; without calling itself as deep."""
    level = tuple(layers)
    for _ in range(MOST_NESTED):
        level = tuple(one for layer in level for one in layer.inner())
        if not level:
            return
    raise UserError(f"layers must be nested at most {MOST_NESTED} deep")


def as_network(value: Any, like: Network) -> Network:
    """What ``network=`` takes as a network: one, a list of layers, or code, whose pixels are those
    of ``like``. Raises ``UserError`` for what is none. ``FILE.py:FUNCTION`` runs the file."""
    if isinstance(value, Network):
        return value
    if isinstance(value, list | tuple):
        return Network(layers=check_list(value, "network"))
    return Network(code=own_code(value), pixels=like.pixels)
