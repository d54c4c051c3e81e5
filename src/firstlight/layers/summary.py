"""A network layer by layer: shapes, parameters, multiply-adds and receptive fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from firstlight.errors import UserError
from firstlight.layers.blocks import window
from firstlight.layers.layer import Layer, Shape, Way
from firstlight.layers.sequence import flat, names, shapes

if TYPE_CHECKING:
    from torch import nn

    from firstlight.layers.network import Network

Seen = tuple[int, int]
HEADINGS = (
    "layer",
    "name",
    "what it is",
    "output",
    "parameters",
    "not trained",
    "multiply-adds",
    "receptive field",
)
RIGHT = frozenset(HEADINGS[3:])
"""Columns of numbers, which are aligned right."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer of the table."""

    number: str
    """Number as in ``network.N`` and error messages; repeats of a layer share it. Empty if the
    recipe does not list the layer."""
    name: str
    """Name of its module, such as ``conv1`` or ``residual1.layers.conv2``; empty for a heading."""
    depth: int
    """Nesting depth: 0, or the number of blocks around it."""
    what: str
    """Description in words."""
    output: Shape
    """Height, width and channels, or features."""
    trained: int = 0
    """Trained parameters. A block counts 0, because its layers have their own rows."""
    fixed: int = 0
    """Numbers that are stored but not trained, such as running statistics and fixed filters."""
    multiply_adds: int = 0
    """For one image."""
    sees: int
    """Side of its receptive field, the square of input pixels that one output depends on; 0 for the
    whole image."""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of ``HEADINGS``."""
        return (
            self.number,
            self.name.rpartition(".")[2],
            "  " * self.depth + self.what,
            "×".join(map(str, self.output)),
            *(f"{count:,}" if count else "" for count in (self.trained, self.fixed)),
            f"{self.multiply_adds:,}" if self.multiply_adds else "",
            f"{self.sees}×{self.sees}" if self.sees else "whole image",
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layers of a network for a given image shape and number of classes.

    ``str`` returns a table for a terminal; a notebook shows an HTML table.
    """

    image_shape: tuple[int, int, int]
    """Height, width and channels."""
    classes: int
    rows: tuple[Row, ...]
    batch_size: int
    """Batch size of ``training_bytes``."""
    mixed: bool
    """Whether ``training_bytes`` assumes maps in bfloat16."""
    training_bytes: int
    """Estimated peak memory of a training step: weights, gradients, optimizer state and maps. The
    process needs more: PyTorch, the data, and freed memory that it keeps for the next step."""

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        return sum(row.trained for row in self.rows)

    @property
    def fixed(self) -> int:
        """Count of numbers that are stored but not trained."""
        return sum(row.fixed for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image."""
        return sum(row.multiply_adds for row in self.rows)

    def named(self) -> list[Row]:
        """The rows of layers, without headings and the paths of blocks."""
        return [row for row in self.rows if row.name]

    def totals(self) -> tuple[str, ...]:
        """The sentences below the table."""
        height, width, channels = self.image_shape
        fixed = f", {self.fixed:,} untrained numbers" if self.fixed else ""
        how = " in bfloat16" if self.mixed else ""
        return (
            f"Images of {height}×{width}×{channels}, {self.classes} classes.",
            f"{self.trained:,} parameters{fixed}, {_bytes(4 * (self.trained + self.fixed))}.",
            f"{self.multiply_adds:,} multiply-adds for one image.",
            f"Training with batches of {self.batch_size}{how} holds about "
            f"{_bytes(self.training_bytes)} at a time. The process takes up to twice that, plus "
            "PyTorch and the data.",
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "image_shape": self.image_shape,
            "classes": self.classes,
            "layers": [asdict(row) for row in self.rows],
            "trained": self.trained,
            "not_trained": self.fixed,
            "multiply_adds": self.multiply_adds,
            "batch_size": self.batch_size,
            "mixed": self.mixed,
            "training_bytes": self.training_bytes,
        }

    def __str__(self) -> str:
        table = [HEADINGS, *(row.cells() for row in self.rows)]
        wide = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(w) if heading in RIGHT else cell.ljust(w)
                for cell, w, heading in zip(cells, wide, HEADINGS, strict=True)
            ).rstrip()
            for cells in table
        ]
        return "\n".join((lines[0], "─" * max(map(len, lines)), *lines[1:], "", *self.totals()))

    def _repr_html_(self) -> str:
        from firstlight import cells

        rows = [
            [
                f'<span style="white-space: pre">{cells.text(cell, 200)}</span>'
                for cell in row.cells()
            ]
            for row in self.rows
        ]
        right = [at for at, heading in enumerate(HEADINGS) if heading in RIGHT]
        return cells.block(
            "Network", cells.table(HEADINGS, rows, right), *map(cells.note, self.totals())
        )


def _bytes(count: int) -> str:
    """Format 1,234,567 as ``1.2 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The position of a list of layers in the network."""

    number: str | None = ""
    """Prefix of its layers' numbers; None if the recipe does not list them."""
    path: str = ""
    """Prefix of its modules' names."""
    depth: int = 0
    listed: int = 0
    """Number of layers that the recipe lists, if they repeat; 0 if they do not."""

    def counted(self, at: int) -> int:
        """Return the number in the recipe of layer ``at``, from 1."""
        return (at - 1) % self.listed + 1 if self.listed else at


def summarize(
    network: Network,
    image_shape: Sequence[int],
    classes: int,
    *,
    batch_size: int = 32,
    moments: int = 2,
    mixed: bool = False,
) -> Summary:
    """Return the summary of a network for images of height, width and channels.

    ``moments`` is how many numbers the optimizer keeps per parameter: 2 for Adam. ``mixed`` is
    whether training computes in bfloat16. Raises ``UserError`` if the network does not fit the
    images.
    """
    import torch
    from torch import Generator

    from firstlight.models.blocks import shapes_only
    from firstlight.models.catalog import Architecture
    from firstlight.models.cost import training_bytes

    require_layers(network)
    height, width, channels = shape = checked_shape(image_shape)
    for name, count in (("classes", classes), ("batch_size", batch_size)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise UserError(f"{name} must be a whole number of 1 or more, not {count!r}")
    with shapes_only():
        architecture = Architecture(network=network, image_shape=shape, classes=classes)
        model = architecture.build(Generator()).to("meta")
    layers = [layer.with_classes(classes) for layer in network.layers]
    called = iter(names(flat(layers)))
    modules = dict(model.named_modules())
    pixels_NCHW = torch.empty(batch_size, channels, height, width, device="meta").contiguous(
        memory_format=torch.channels_last
    )
    return Summary(
        image_shape=shape,
        classes=classes,
        rows=tuple(_rows(layers, shape, (1, 1), _Place(), called, modules)),
        batch_size=batch_size,
        mixed=mixed,
        training_bytes=training_bytes(model, pixels_NCHW, moments, mixed=mixed),
    )


def require_layers(network: Network) -> None:
    """Raise ``UserError`` if the network is the user's own code."""
    if network.code is not None:
        raise UserError(
            f"the network is code, {network.code.function} of {network.code.file}, not a list of "
            "layers, so it has no summary. In Python, print(module) shows its modules"
        )


def checked_shape(given: Sequence[int]) -> tuple[int, int, int]:
    """Return height, width and channels. Raises ``UserError`` if the shape is not valid."""
    whole = [one for one in given if isinstance(one, int) and not isinstance(one, bool) and one > 0]
    if len(given) != 3 or len(whole) != 3:
        raise UserError(
            "image_shape must be height, width and channels, such as (28, 28, 1), not "
            f"{tuple(given)!r}"
        )
    return whole[0], whole[1], whole[2]


def _rows(
    layers: Sequence[Layer],
    shape: Shape,
    seen: Seen,
    place: _Place,
    called: Iterator[str],
    modules: dict[str, nn.Module],
) -> Iterator[Row]:
    """Yield the rows of layers whose input has ``shape`` and the receptive field ``seen``;
    ``called`` yields their modules' names in order."""
    before = shapes(layers, shape)
    for at, layer in enumerate(layers, start=1):
        inner = before[at - 1]
        behind = window([layer], inner, seen)
        mine = [next(called) for _ in flat([layer])]
        row = Row(
            number="" if place.number is None else f"{place.number}{place.counted(at)}",
            name=f"{place.path}{mine[0]}",
            depth=place.depth,
            what=layer.words(),
            output=before[at],
            sees=behind[0],
        )
        within = None if place.number is None else f"{row.number}."
        inside = replace(place, number=within, depth=place.depth + 1, listed=0)
        if ways := layer.ways(inner):
            yield row
            for way in ways:
                number = None if way.number is None or within is None else f"{within}{way.number}"
                yield from _way(
                    way, inner, seen, replace(inside, number=number, path=f"{row.name}."), modules
                )
        elif _repeats(layer):
            yield replace(row, name="")
            inside = replace(inside, listed=len(layer.inner()))
            yield from _rows(layer.parts(), inner, seen, inside, iter(mine), modules)
        else:
            yield _counted(row, layer, inner, [modules[f"{place.path}{name}"] for name in mine])
        seen = behind


def _way(
    way: Way, shape: Shape, seen: Seen, place: _Place, modules: dict[str, nn.Module]
) -> Iterator[Row]:
    inside = replace(place, path=f"{place.path}{way.name}.")
    if way.title:
        what = way.title if way.layers else f"{way.title}: the input, unchanged"
        behind = shapes(way.layers, shape)[-1]
        sees = window(way.layers, shape, seen)[0]
        yield Row(number="", name="", depth=place.depth, what=what, output=behind, sees=sees)
        inside = replace(inside, depth=place.depth + 1)
    called = iter(names(flat(way.layers)))
    yield from _rows(way.layers, shape, seen, inside, called, modules)


def _repeats(layer: Layer) -> bool:
    """Whether it expands to a list other than itself and an activation."""
    return not isinstance(layer.parts()[0], type(layer))


def _counted(row: Row, layer: Layer, shape: Shape, modules: Sequence[nn.Module]) -> Row:
    from firstlight.models.cost import held

    counts = [held(module) for module in modules]
    return replace(
        row,
        trained=sum(trained for trained, _ in counts),
        fixed=sum(fixed for _, fixed in counts),
        multiply_adds=layer.multiply_adds(shape),
    )
