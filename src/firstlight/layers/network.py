"""A network as a value: its layers, its input, and its test-time augmentation."""

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
"""Most layers in a network, with every repeat expanded."""
MOST_NESTED = 12
"""Deepest nesting of layers, so that saved networks can be read back within the reader's limits."""


@dataclass(frozen=True, kw_only=True)
class Network(Checked):
    """A network of known layers; or a record of the user's own code."""

    example: ClassVar[str] = 'Network(layers=[Flatten(), Dense("classes")])'

    layers: tuple[Layer, ...] = tutorial()
    """Layers in order; ``dense = "classes"`` gives the scores."""
    pixels: str = choice("scale", "scale", "standardize")
    """The input: pixels from 0 to 1 (``scale``), or those minus the training images' channel means
    and divided by their standard deviations (``standardize``)."""
    views: str = choice("one", "one", "shift", "mirror", "mirror-and-shift")
    """Test-time augmentation: the views whose answers are averaged. ``one``: the image. ``shift``:
    the image, and the image shifted by one pixel to each side. ``mirror``: the image and its mirror
    image. ``mirror-and-shift``: those two, and both shifted by one pixel towards two corners."""
    code: OwnCode | None = None
    """The function that makes the network, in place of layers. It runs only if the call names
    it."""

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
        """Whether the network accepts images of any size. False for the user's own code."""
        return self.code is None and not any(one.one_size for one in written_out(self.layers))

    @property
    def needs_two(self) -> bool:
        """Whether training needs at least two images in a batch, as batch norm does. True for own
        code."""
        return self.code is not None or self.has(BatchNorm)

    @property
    def drops(self) -> bool:
        """Whether training draws random numbers inside the network. True for the user's own
        code."""
        return self.code is not None or self.has(Dropout) or self.has(SpatialDropout)

    def has(self, kind: type[Layer]) -> bool:
        """Whether the network contains a layer of this kind, at any depth."""
        return any(isinstance(layer, kind) for layer in written_out(self.layers))

    def summary(
        self, image_shape: Sequence[int], classes: int, *, batch_size: int = 32
    ) -> "Summary":
        """Return a summary of the network for images of height, width and channels.

        It gives each layer's name, output shape, parameters, multiply-adds and receptive field; the
        totals; and the memory for one batch of training with Adam. ``print`` shows a table. Raises
        ``UserError`` if the network does not fit the images.
        """
        from firstlight.layers.summary import summarize

        return summarize(self, image_shape, classes, batch_size=batch_size)

    def diagram(self, image_shape: tuple[int, int, int], classes: int) -> str:
        """Return a diagram as SVG text: maps as boxes to scale, residual paths, branches.

        Raises ``UserError`` if the network does not fit images of height, width and channels.
        """
        from firstlight.layers.diagram import diagram

        return diagram(self, image_shape, classes)

    def _repr_html_(self) -> str:
        from firstlight import cells

        if self.code is not None:
            return cells.block("Network", cells.note(f"code: {self.code.function}"))
        rows = [
            (str(number), cells.text(layer.words(), 200))
            for number, layer in enumerate(self.layers, start=1)
        ]
        hint = (
            ".summary((height, width, channels), classes) adds shapes, parameters and receptive "
            "fields."
        )
        return cells.block(
            "Network", cells.table(("layer", "what it is"), rows, right=(0,)), cells.note(hint)
        )

    def to_table(self) -> dict[str, Any]:
        """Return the network as a table of a recipe."""
        table: dict[str, Any] = {"pixels": self.pixels, "views": self.views}
        if self.code is not None:
            return {**table, "code": self.code.to_table()}
        return {**table, "layers": plain_value(self.layers)}


def _check_last(layers: Sequence[Layer]) -> None:
    """Raise ``UserError`` unless one layer near the end gives a score for each class."""
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
    """Raise ``UserError`` if the layers are nested too deeply. Not recursive, so any depth is
    safe."""
    level = tuple(layers)
    for _ in range(MOST_NESTED):
        level = tuple(one for layer in level for one in layer.inner())
        if not level:
            return
    raise UserError(f"layers must be nested at most {MOST_NESTED} deep")


def as_network(value: Any, like: Network) -> Network:
    """Convert the value of ``network=`` (a network, a list of layers, or code) to a network.

    Lists and code get the ``pixels`` of ``like``. ``FILE.py:FUNCTION`` runs the file. Raises
    ``UserError`` for anything else.
    """
    if isinstance(value, Network):
        return value
    if isinstance(value, list | tuple):
        return Network(layers=check_list(value, "network"))
    return Network(code=own_code(value), pixels=like.pixels)
