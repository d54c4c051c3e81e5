"""A recipe's network for images of one shape: everything needed to build it again."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Generator, nn

from firstlight.errors import UserError
from firstlight.layers.network import Network
from firstlight.models.blocks import shapes_only
from firstlight.models.network import NetworkModule
from firstlight.models.own_code import built


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything needed to build a network again; saved with its weights."""

    network: Network
    image_shape: tuple[int, int, int]
    """Height, width and channels."""
    classes: int

    def build(self, rng: Generator) -> nn.Module:
        """Return the network with initial weights from ``rng``; layers use channels-last memory.

        Raises ``UserError`` if the network does not fit the images, or if its code was not named or
        fails.
        """
        if self.network.code is not None:
            return built(self.network.code, self.image_shape, self.classes, rng)
        height, width, channels = self.image_shape
        try:
            model = NetworkModule(self.network, self.image_shape, self.classes, rng)
        except UserError as error:
            raise UserError(
                f"the network does not fit images of {height}×{width}×{channels}: {error}"
            ) from error
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by name, without allocating the network.

        The user's own code is built, because it may read numbers. Raises ``UserError`` as ``build``
        does.
        """
        with nullcontext() if self.network.code is not None else shapes_only():
            tensors = self.build(Generator()).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def check_takes(self, height: int, width: int) -> None:
        """Raise ``UserError`` if the network cannot take images smaller than its own: paths that
        meet again may round their sizes differently."""
        model = self.build(Generator()).eval()
        try:
            with torch.no_grad():
                model(torch.zeros(1, self.image_shape[2], height, width))
        except RuntimeError as error:
            raise UserError(
                f"of {height}×{width} pixels, the outputs of a residual block or of branches "
                f"have different sizes ({error})"
            ) from error

    def to_json(self) -> dict[str, object]:
        """Return plain values for the metadata of a weights file."""
        return {
            "network": self.network.to_table(),
            "image_shape": self.image_shape,
            "classes": self.classes,
        }


def parameter_count(model: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
