"""The networks by name."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Generator, nn

from firstlight.errors import UserError
from firstlight.models.blocks import shapes_only
from firstlight.models.tutorial import TutorialCNN
from firstlight.models.whitened import WhitenedCNN
from firstlight.recipe import ModelChoice

Builder = Callable[[ModelChoice, tuple[int, int, int], int, Generator], nn.Module]

HEAD = "logits."
"""What the names of every network's last layer begin with."""
BUILDERS: dict[str, Builder] = {"tutorial": TutorialCNN, "whitened": WhitenedCNN}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All that is needed to build a network again; saved beside its weights."""

    choice: ModelChoice
    image_shape: tuple[int, int, int]
    """Height, width and channels."""
    classes: int

    def build(self, rng: Generator) -> nn.Module:
        """The network with fresh weights from ``rng``, in channels-last memory.

        Raises ``UserError`` when the images do not fit the network.
        """
        try:
            model = BUILDERS[self.choice.name](self.choice, self.image_shape, self.classes, rng)
        except ValueError as error:
            raise UserError(f"model {self.choice.name}: {error}") from error
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of the network's tensors by its name, without building it in memory.

        Raises ``UserError`` as ``build`` does.
        """
        with shapes_only():
            tensors = self.build(Generator()).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def to_json(self) -> dict[str, object]:
        """Plain values, for the metadata of a weights file."""
        return asdict(self)


def parameter_count(model: nn.Module) -> int:
    """Trained numbers in the network."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
