"""Normalization layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from firstlight.checked import number
from firstlight.errors import UserError
from firstlight.layers.layer import Layer, Shape, maps

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """Normalize each channel by its mean and standard deviation: those of the batch in training,
    running averages in prediction (Ioffe and Szegedy 2015, algorithms 1 and 2)."""

    kind: ClassVar[str] = "batch-norm"
    title: ClassVar[str] = "batch norm"
    does: ClassVar[str] = (
        "Each map is shifted and scaled by its mean and spread in training, so that no map "
        "dominates the others."
    )

    _: KW_ONLY
    momentum: float = number(0.1, least=0.0, most=1.0, above=True)
    """Weight of a new batch in the running statistics. Keras uses 1 minus this value."""
    epsilon: float = number(1e-5, least=0.0, most=1.0, above=True)
    """Added to the variance."""
    scale: bool = True
    """Whether each channel is then multiplied by a trained factor."""

    def words(self) -> str:
        return self.title

    def output(self, shape: Shape) -> Shape:
        if len(shape) == 2:
            raise UserError("it needs maps or features; for tokens use layer-norm instead")
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import batch_norm

        return batch_norm(self, shape)


@dataclass(frozen=True, repr=False)
class GroupNorm(Layer):
    """Normalize over the channels of a group and all positions of one image (Wu and He 2018,
    section 3). The result does not depend on the batch."""

    kind: ClassVar[str] = "group-norm"
    title: ClassVar[str] = "group norm"
    main: ClassVar[str] = "groups"
    does: ClassVar[str] = (
        "The maps of each group are shifted and scaled together, to a mean of 0 and a spread of 1 "
        "in this picture. Each map is then scaled and shifted by trained numbers."
    )

    groups: int = number(8, least=1, most=4096)
    """Number of channel groups."""
    _: KW_ONLY
    epsilon: float = number(1e-5, least=0.0, most=1.0, above=True)
    """Added to the variance."""

    def words(self) -> str:
        return f"{self.title}, {self.groups} groups"

    def window(self, shape: Shape) -> tuple[int, int]:
        return 0, 1

    def output(self, shape: Shape) -> Shape:
        height, width, channels = maps(self, shape)
        if channels % self.groups:
            raise UserError(
                f"{channels} {'channel' if channels == 1 else 'channels'} cannot be split into "
                f"{self.groups} equal groups. Choose a number of groups that divides them"
            )
        _check_several(height * width * channels // self.groups, "group")
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import group_norm

        return group_norm(self, shape)


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Normalize over the channels at one position, over one token, or over all features (Ba et al.
    2016, equation 4; the channels at a position as in Liu et al. 2022, section 2.6)."""

    kind: ClassVar[str] = "layer-norm"
    title: ClassVar[str] = "layer norm"
    does: ClassVar[str] = (
        "The numbers of all maps at one position are shifted and scaled together, to a mean of "
        "0 and a spread of 1. They are then scaled and shifted by trained numbers."
    )

    _: KW_ONLY
    epsilon: float = number(1e-5, least=0.0, most=1.0, above=True)
    """Added to the variance."""

    def words(self) -> str:
        return self.title

    def window(self, shape: Shape) -> tuple[int, int]:
        return (0, 1) if len(shape) == 1 else (1, 1)

    def output(self, shape: Shape) -> Shape:
        _check_several(shape[-1], "place")
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        from firstlight.models.modules import LayerNorm as Module

        return Module(self, shape)


def _check_several(numbers: int, where: str) -> None:
    """Raise ``UserError`` for a single number: minus its own mean, it is always 0."""
    if numbers == 1:
        raise UserError(
            f"each {where} has only one number, which would become 0. Leave this layer out, or "
            "give it more channels"
        )
