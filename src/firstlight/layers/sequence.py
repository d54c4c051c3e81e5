"""Sequences of layers: the shape after each layer, and the error for a layer that does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod

from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape, shown
from firstlight.parts import values_of

MOST_NUMBERS = 2**31
"""Most numbers that a layer may output for one image."""


def shapes(layers: Sequence[Layer], shape: Shape, within: str = "", when: str = "") -> list[Shape]:
    """Return the shape before the first layer and after each layer.

    Raises ``UserError`` with the layer's number, from 1; a nested layer is numbered like ``3.1``.
    ``when`` says in words which repetition of the layers this is.
    """
    found = [shape]
    for number, layer in enumerate(layers, start=1):
        try:
            behind = layer.output(found[-1])
            if prod(behind) > MOST_NUMBERS:
                raise UserError(
                    f"its output would be more than {MOST_NUMBERS:,} numbers for one image"
                )
        except UserError as error:
            inner = getattr(error, "layer", "")
            place = f"{within}{number}{inner and '.'}{inner}"
            raise _NumberedError(place, layer, found[-1], when, error) from None
        found.append(behind)
    return found


def flat(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, with all abbreviations expanded."""
    found: list[Layer] = []
    for layer in layers:
        parts = layer.parts()
        found += parts if parts == (layer,) else flat(parts)
    return found


def names(parts: Sequence[Layer]) -> list[str]:
    """Name the modules of a flat list by kind and number: ``conv1``, ``conv2``, ``dense1``."""
    counts, found = Counter[str](), list[str]()
    for part in parts:
        counts[part.kind] += 1
        found.append(f"{part.kind.replace('-', '_')}{counts[part.kind]}")
    return found


def written_out(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Yield every layer at every depth in the order of computation, containers first."""
    for layer in layers:
        yield layer
        yield from written_out(layer.inner())


class _NumberedError(UserError):
    """An error about a layer, with the layer's number."""

    def __init__(self, place: str, layer: Layer, shape: Shape, when: str, error: UserError) -> None:
        self.layer = place
        self.what = getattr(error, "what", f"({layer.title}) gets {shown(shape)}{when}: {error}")
        super().__init__(f"layer {place} {self.what}")


def check_list(value: object, label: str) -> tuple[Layer, ...]:
    """Return the value as layers. Raises ``UserError`` for an empty list or anything else.

    The error names the wrong element by its number.
    """
    layers = values_of(
        value,
        Layer,  # type: ignore[type-abstract]
        label=label,
        word="layer",
        example="fl.layers.Conv(32)",
        table="{ conv = 32 }",
    )
    if not layers:
        raise UserError(f"{label} must be a list of layers, and it is empty")
    return layers
