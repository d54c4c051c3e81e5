"""A network: the modules of a list of layers, in sequence.

Rewrites that make it fast are applied to the list here. They do not change any result. Axes: N
images, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator, Sequence

from torch import Generator, Tensor, cat, nn
from torch.nn.functional import pad

from firstlight.errors import UserError
from firstlight.layers import blocks
from firstlight.layers.activation import COMMUTES_WITH_MAX
from firstlight.layers.activation import Activation as ActivationChoice
from firstlight.layers.conv import Conv
from firstlight.layers.layer import CLASSES, Layer, Shape, shown
from firstlight.layers.network import Network
from firstlight.layers.pool import AveragePool, MaxPool
from firstlight.layers.sequence import flat, names, shapes, written_out
from firstlight.layers.whiten import Whiten
from firstlight.models.convolution import Convolution3x3
from firstlight.models.modules import Activation
from firstlight.models.modules import MaxPool as MaxPooling
from firstlight.models.whitening import Whitening


class Chain(nn.Sequential):
    """The modules of layers, named by kind and number: ``conv1``, ``conv2``, ``dense1``."""

    def __init__(self, layers: Sequence[Layer], shape: Shape, rng: Generator) -> None:
        super().__init__()
        named = _named(flat(layers))
        before = shapes([part for _, part in named], shape)
        last: nn.Module | None = None
        for (name, part), inner in zip(named, before, strict=False):
            module = part.build(inner, rng)
            # Kept for code that inspects the module.
            module.layer = part  # type: ignore[assignment]
            if isinstance(module, Activation):
                # The gradient of such a layer does not need its output.
                plain = isinstance(last, nn.Conv2d) and not isinstance(last, Convolution3x3)
                if plain or isinstance(last, MaxPooling):
                    module.in_place()
            self.add_module(name, module)
            last = module


def _named(parts: list[Layer]) -> list[tuple[str, Layer]]:
    """Name each part, in the order of computation.

    An activation that commutes with a max-pool is moved after it. The result is the same to the
    bit, and the activation processes fewer numbers.
    """
    named: list[tuple[str, Layer]] = []
    for one in zip(names(parts), parts, strict=True):
        part = one[1]
        before = named[-1][1] if named else None
        if (
            isinstance(part, MaxPool)
            and isinstance(before, ActivationChoice)
            and before.name in COMMUTES_WITH_MAX
        ):
            named.insert(-1, one)
        else:
            named.append(one)
    return named


class Residual(nn.Module):
    """The layers' output plus the input or its projection."""

    def __init__(self, choice: blocks.Residual, shape: Shape, rng: Generator) -> None:
        super().__init__()
        self.layers = Chain(choice.layers, shape, rng)
        self.shortcut = Chain(choice.shortcut(shape), shape, rng)

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.layers(inputs) + self.shortcut(inputs)
        return result


class Branches(nn.Module):
    """Several chains on the same input, joined."""

    def __init__(self, choice: blocks.Branches, shape: Shape, rng: Generator) -> None:
        super().__init__()
        self.adds = choice.join == "add"
        for number, layers in enumerate(choice.branches, start=1):
            self.add_module(f"branch{number}", Chain(layers, shape, rng))

    def forward(self, inputs: Tensor) -> Tensor:
        results = [branch(inputs) for branch in self.children()]
        if self.adds:
            total: Tensor = sum(results[1:], results[0])
            return total
        return cat(results, dim=2 if results[0].dim() == 3 else 1)  # tokens: features are last


class NetworkModule(Chain):
    """An image classifier that returns scores (logits) for K classes.

    In evaluation mode the logits are averaged over the ``views`` of each image.
    """

    def __init__(
        self,
        choice: Network,
        image_shape: tuple[int, int, int],
        classes: int,
        rng: Generator,
    ) -> None:
        """Build the modules. ``image_shape`` is height, width and channels. Raises ``UserError`` if
        a layer does not fit its input, or if the last one does not give a score for each class."""
        layers = [layer.with_classes(classes) for layer in choice.layers]
        _check(layers, image_shape, classes)
        super().__init__(layers, image_shape, rng)
        self.views = choice.views
        self.rows, self.columns = (_used(flat(layers), side) for side in image_shape[:2])

    def initialize_from(self, pixels_NCHW: Tensor) -> None:
        """Set what is computed from training images: a whitening stem's filters."""
        first = next(self.children())
        if isinstance(first, Whitening):
            first.initialize_from(pixels_NCHW)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Return logits N×K for images float32 N×C×H×W."""
        if self.training:
            return self._logits(pixels_NCHW)
        share, first_NCHW = next(parts := _views(pixels_NCHW, self.views))
        total_NK = self._logits(first_NCHW) * share
        for share, view_NCHW in parts:
            total_NK += self._logits(view_NCHW) * share
        return total_NK

    def _logits(self, pixels_NCHW: Tensor) -> Tensor:
        maps_NCHW = pixels_NCHW
        if self.rows < pixels_NCHW.shape[2] or self.columns < pixels_NCHW.shape[3]:
            maps_NCHW = pixels_NCHW[:, :, : self.rows, : self.columns]
        for module in self:
            maps_NCHW = module(maps_NCHW)
        return maps_NCHW


def head(model: nn.Module) -> str:
    """Return the name of the last dense layer, which gives the class scores.

    Raises ``UserError`` if there is none.
    """
    names = [name for name, one in model.named_modules() if isinstance(one, nn.Linear)]
    if not names:
        raise UserError(
            "the network has no dense layer (nn.Linear) that could be replaced for other classes"
        )
    last: str = names[-1]
    return last


def _check(layers: Sequence[Layer], image_shape: Shape, classes: int) -> None:
    given = shapes(layers, image_shape)[-1]
    if given != (classes,):
        raise UserError(
            f"the last layer gives {shown(given)}, but {classes} classes need {classes} scores: "
            f'leave out what comes after dense = "{CLASSES}"'
        )
    first, *others = flat(layers)
    if any(isinstance(one, Whiten) for one in written_out((*first.inner(), *others))):
        raise UserError("a whitening layer must be the first layer, outside any block")


def _used(parts: Sequence[Layer], side: int) -> int:
    """Return how many rows (or columns) of an image the result depends on.

    A pool drops an odd last row, so the last rows of an image may have no effect: the tutorial's
    networks use 30 of CIFAR-10's 32 rows and 26 of MNIST's 28. Cutting off the others changes no
    result and saves a seventh of the work.
    """
    windows = []
    for part in parts:
        if isinstance(part, Conv | MaxPool | AveragePool) and part.padding == "valid":
            windows.append(part.window((side, side, 1)))
        elif not isinstance(part, ActivationChoice):
            break
    used = side
    for wide, step in windows:
        used = (used - wide) // step + 1
    for wide, step in reversed(windows):
        used = (used - 1) * step + wide
    return used


def _views(pixels_NCHW: Tensor, name: str) -> Iterator[tuple[float, Tensor]]:
    """Yield the views to average, the image itself first, each with its weight."""

    def moved(view_NCHW: Tensor, down: int, right: int) -> Tensor:
        height, width = view_NCHW.shape[2:]
        padded_NCHW = pad(view_NCHW, (1, 1, 1, 1), mode="reflect")
        return padded_NCHW[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    if name == "one":
        yield 1.0, pixels_NCHW
    elif name == "shift":
        yield 0.2, pixels_NCHW
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            yield 0.2, moved(pixels_NCHW, down, right)
    elif name == "mirror":
        yield 0.5, pixels_NCHW
        yield 0.5, pixels_NCHW.flip(3)
    else:
        both = (pixels_NCHW, pixels_NCHW.flip(3))
        for view_NCHW in both:
            yield 0.25, view_NCHW
        for view_NCHW in both:  # shifted views have half the weight, as in the source
            yield 0.125, moved(view_NCHW, -1, -1)
            yield 0.125, moved(view_NCHW, 1, 1)
