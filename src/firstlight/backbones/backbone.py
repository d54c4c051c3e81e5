"""A pretrained network as a value: its layers, what it is shown, where its weights lie, and facts.

Nothing here needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firstlight.layers.layer import Layer
from firstlight.layers.network import Network
from firstlight.pixels import Preprocess

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_NOTE = (
    "Trained on ImageNet, whose pictures are for non-commercial research. The licence of the "
    "weights does not mention this. Decide yourself whether it matters to you."
)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What a publisher calls the tensors of a network."""

    publisher: str
    layers: tuple[str, ...]
    """Of each layer that holds tensors, in the order of computing, what stands before their
    names."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Tensors with another name than here: kind and tensor here, such as ``tokens.positions``, and
    the name there."""
    unused: tuple[str, ...] = ()
    """Tensors that no answer needs."""


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository on the Hugging Face hub, at one revision."""

    repository: str
    revision: str
    file: str
    sha256: str = ""
    """Of the file; empty where it is not known, so that only names and shapes can be checked."""
    megabytes: int
    """About how many."""


@dataclass(frozen=True, kw_only=True)
class PackageFile:
    """A pickle of weights inside an installed Python package, believed by its checksum alone."""

    package: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network whose weights come from elsewhere, and all that is known of it."""

    name: str
    title: str
    paper: str
    layers: Callable[[], tuple[Layer, ...]]
    """The layers; the last but activations is ``dense = "classes"``."""
    side: int
    """Height and width of the images, in pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of red, green and blue from 0 to 1; what is subtracted."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What is then divided by."""
    interpolation: str = "bicubic"
    """How pictures were brought to the side when ``top1`` was measured."""
    classes: int = 1000
    """Of the published last layer; 0 where there is none."""
    top1: float
    """ImageNet accuracy as published, in percent."""
    top1_source: str
    parameters: int
    """Of the network, with the published last layer."""
    multiply_adds: int
    """For one image."""
    code_licence: str = "Apache-2.0"
    """Of the publisher's code. The layers here are firstlight's own."""
    weights_licence: str = "Apache-2.0"
    note: str = IMAGENET_NOTE
    hub: HubFile
    package: PackageFile | None = None
    namings: tuple[Naming, ...]
    """The publishers' names for its tensors."""

    @property
    def network(self) -> Network:
        """The network of firstlight's layers."""
        return Network(layers=self.layers(), pixels="standardize")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images."""
        return self.side, self.side, 3

    @property
    def class_names(self) -> tuple[str, ...]:
        """ImageNet's classes by their numbers; two without a name where the weights know none."""
        if not self.classes:
            return "class 0", "class 1"
        return tuple(f"ImageNet {number}" for number in range(self.classes))

    @property
    def preprocess(self) -> Preprocess:
        """The pixel path: uint8 images of its size to what it was trained on."""
        return Preprocess(
            height=self.side, width=self.side, channels=3, mean=self.mean, std=self.std
        )
