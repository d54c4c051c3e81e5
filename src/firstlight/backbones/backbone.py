"""A pretrained network as a value: its layers, preprocessing, source of weights, and other facts.

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
    """The names that a publisher gives to the tensors of a network."""

    publisher: str
    layers: tuple[str, ...]
    """Prefix of the tensor names of each layer that has tensors, in the order of computation."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Tensors with different names: our kind and tensor, such as ``tokens.positions``, and the
    published name."""
    unused: tuple[str, ...] = ()
    """Published tensors that prediction does not need."""


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file in a repository on the Hugging Face hub, at one revision."""

    repository: str
    revision: str
    file: str
    sha256: str = ""
    """SHA-256 of the file; empty if unknown, so that only names and shapes can be checked."""
    megabytes: int
    """Approximate size."""


@dataclass(frozen=True, kw_only=True)
class PackageFile:
    """A pickle of weights inside an installed Python package. Only its checksum makes it
    trusted."""

    package: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network with published weights, and everything known about it."""

    name: str
    title: str
    paper: str
    layers: Callable[[], tuple[Layer, ...]]
    """The layers. The last one, apart from activations, is ``dense = "classes"``."""
    side: int
    """Height and width of its images, in pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from red, green and blue in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divides the result."""
    interpolation: str = "bicubic"
    """The interpolation that resized the pictures when ``top1`` was measured."""
    classes: int = 1000
    """Classes of the published last layer; 0 if there is none."""
    top1: float
    """Published ImageNet accuracy, in percent."""
    top1_source: str
    parameters: int
    """Number of parameters, with the published last layer."""
    multiply_adds: int
    """Multiply-adds for one image."""
    code_licence: str = "Apache-2.0"
    """Licence of the publisher's code. The layers here are firstlight's own."""
    weights_licence: str = "Apache-2.0"
    note: str = IMAGENET_NOTE
    hub: HubFile
    package: PackageFile | None = None
    namings: tuple[Naming, ...]
    """The publishers' names of its tensors."""

    @property
    def network(self) -> Network:
        """The network as firstlight's layers."""
        return Network(layers=self.layers(), pixels="standardize")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its images."""
        return self.side, self.side, 3

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of ImageNet in order; two placeholders if the weights have no classes."""
        if not self.classes:
            return "class 0", "class 1"
        return tuple(f"ImageNet {number}" for number in range(self.classes))

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing from uint8 images of its size to the input that it was trained on."""
        return Preprocess(
            height=self.side, width=self.side, channels=3, mean=self.mean, std=self.std
        )
