"""Figures of the inside of one network, trained on MNIST. Axes: N images, K classes, h×w maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Generator
from torch.nn.functional import conv2d, cross_entropy, max_pool2d, relu

from firstlight.data.dataset import TrainTest
from firstlight.data.split import limit
from firstlight.evaluate.predict import logits
from firstlight.report.images import show
from firstlight.report.picture import BLUE, FAINT, INK, ORANGE, SavedFigure, bare, style
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import open_run_folder
from firstlight.training.randomness import reseed
from ideas import WIDTH
from ideas.runs import IMAGES, TEST_IMAGES

Float32Array = npt.NDArray[np.float32]
TICKS = 500
"""Number of test images drawn as ticks."""
DIGIT = 0
"""Index of the test image whose maps are drawn."""


class Inside:
    """The trained network, its answers, and the map of one filter of its first layer for a
    digit."""

    def __init__(self, run: Path, data: TrainTest) -> None:
        self.saved = load_model(open_run_folder(run))
        self.train, self.test = limit(data.train, TEST_IMAGES), limit(data.test, TEST_IMAGES)
        images_NHWC = torch.from_numpy(self.test.images_NHWC)
        self.scores_NK = logits(self.saved.model, self.saved.preprocess, images_NHWC.split(500))
        self.labels_N = torch.from_numpy(self.test.labels_N)

        weights = self.saved.model.state_dict()
        digit_1CHW = self.saved.preprocess(images_NHWC[DIGIT : DIGIT + 1])
        # The network itself leaves out pixels that its pooling drops, and pools before ReLU.
        maps_Fhw = conv2d(digit_1CHW, weights["conv1.weight"], weights["conv1.bias"])[0]
        largest_F, smallest_F = maps_Fhw.amax(dim=(1, 2)), maps_Fhw.amin(dim=(1, 2))
        self.filter = int(torch.minimum(largest_F, -smallest_F).argmax())
        """The filter whose map has both large and very negative numbers."""
        found_1hw = maps_Fhw[self.filter, None]
        self.pixels_hw: Float32Array = digit_1CHW[0, 0].numpy()
        self.kernel_hw: Float32Array = weights["conv1.weight"][self.filter, 0].numpy()
        self.bias = float(weights["conv1.bias"][self.filter])
        self.map_hw: Float32Array = found_1hw[0].numpy()
        self.after_relu_hw: Float32Array = relu(found_1hw)[0].numpy()
        self.pooled_hw: Float32Array = max_pool2d(relu(found_1hw), 2)[0].numpy()
        self.strongest = divmod(int(self.map_hw.argmax()), self.map_hw.shape[1])
        """Row and column of the map's largest number."""


def signed(axes: Axes, numbers_hw: Float32Array, largest: float, *, written: bool = False) -> None:
    """Draw numbers as colours from blue through white to red, as the report draws filters."""
    axes.imshow(numbers_hw, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    bare(axes)
    frame(axes, numbers_hw.shape)
    for row, column in np.ndindex(numbers_hw.shape) if written else ():
        number = float(numbers_hw[row, column])
        dark = abs(number) > 0.6 * largest
        axes.text(
            column,
            row,
            f"{number:.2f}".replace("-", "−"),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else INK,
        )


def frame(axes: Axes, shape: Sequence[int]) -> None:
    """Draw a thin line around an image, whose edge may be white."""
    axes.add_patch(
        Rectangle((-0.5, -0.5), shape[1], shape[0], fill=False, edgecolor=FAINT, linewidth=0.8)
    )


def marked(axes: Axes, row: int, column: int, side: int) -> None:
    """Draw an orange square around some pixels."""
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=ORANGE, linewidth=2))


def convolution(inside: Inside) -> SavedFigure:
    """Show the digit, one kernel, and the resulting map."""
    row, column = inside.strongest
    with style():
        picture = SavedFigure(WIDTH, 1.95)
        image, kernel, found = picture.subplots(1, 3)
        show(image, inside.pixels_hw[..., None])
        bare(image)
        marked(image, row, column, 3)
        image.set_title("image, 28×28", fontsize=9.5)
        largest = float(np.abs(inside.kernel_hw).max())
        signed(kernel, inside.kernel_hw, largest, written=True)
        kernel.set_title("kernel, 3×3", fontsize=9.5)
        signed(found, inside.map_hw, float(np.abs(inside.map_hw).max()))
        marked(found, row, column, 1)
        found.set_title("map, 26×26", fontsize=9.5)
        at_frame = inside.map_hw[row, column]
        image.set_xlabel("frame: 3×3 pixels", fontsize=8.5)
        kernel.set_xlabel(f"bias {inside.bias:.2f}".replace("-", "−"), fontsize=8.5)
        found.set_xlabel(f"frame: {at_frame:.2f}", fontsize=8.5)
    return picture


def pooling(inside: Inside) -> SavedFigure:
    """Show the map after ReLU, and after max-pooling."""
    row, column = (2 * (place // 2) for place in inside.strongest)
    with style():
        picture = SavedFigure(WIDTH, 2.4)
        before, after = picture.subplots(1, 2)
        for axes, numbers_hw, side, title in (
            (before, inside.after_relu_hw, 2, "before, 26×26"),
            (after, inside.pooled_hw, 1, "after, 13×13"),
        ):
            signed(axes, numbers_hw, float(inside.after_relu_hw.max()))
            marked(axes, row * side // 2, column * side // 2, side)
            axes.set_title(title, fontsize=9.5)
    return picture


def activation(inside: Inside) -> SavedFigure:
    """Plot ReLU, and show the map after it."""
    largest = float(np.abs(inside.map_hw).max())
    with style():
        picture = SavedFigure(WIDTH, 1.75)
        function, before, after = picture.subplots(1, 3)
        function.plot([-1, 0, 1], [0, 0, 1], color=BLUE, linewidth=2)
        function.set_box_aspect(1)
        function.set_xticks([-1, 0, 1], ["−1", "0", "1"])
        function.set_yticks([0, 1])
        function.set_title("max(0, x)", fontsize=9.5)
        signed(before, inside.map_hw, largest)
        before.set_title("before", fontsize=9.5)
        signed(after, inside.after_relu_hw, largest)
        after.set_title("after", fontsize=9.5)
    return picture


def softmax(inside: Inside) -> SavedFigure:
    """Show the scores and probabilities of the least confident right answer."""
    right_N = inside.scores_NK.argmax(dim=1) == inside.labels_N
    surest_N = inside.scores_NK.softmax(dim=1).amax(dim=1)
    at = int(torch.where(right_N, surest_N, torch.inf).argmin())
    scores_K, truth = inside.scores_NK[at], int(inside.labels_N[at])
    colours = [ORANGE if label == truth else BLUE for label in range(len(scores_K))]
    with style():
        picture = SavedFigure(WIDTH, 2.1)
        image, scores, shares = picture.subplots(1, 3, width_ratios=(0.8, 1, 1))
        show(image, inside.test.images_NHWC[at].astype(np.float32) / 255)
        bare(image)
        image.set_title(f"a {truth}", fontsize=9.5)
        for axes, numbers_K, title in (
            (scores, scores_K, "logits"),
            (shares, scores_K.softmax(dim=0), "probabilities"),
        ):
            axes.barh(range(len(colours)), numbers_K.numpy(), color=colours)
            axes.axvline(0, color=FAINT, linewidth=0.8)
            axes.set_yticks(range(len(colours)), [str(label) for label in range(len(colours))])
            axes.tick_params(axis="y", length=0, labelsize=8.5)
            axes.tick_params(axis="x", labelsize=8.5)
            axes.invert_yaxis()
            axes.set_title(title, fontsize=9.5)
        shares.set_xlim(0, 1)
        shares.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    return picture


def loss(inside: Inside) -> SavedFigure:
    """Plot cross-entropy against the probability of the true class, with test images below."""
    each_N = cross_entropy(inside.scores_NK, inside.labels_N, reduction="none").numpy()
    worst, largest = int(each_N.argmax()), float(each_N.max())
    ticks = np.exp(-each_N)[:TICKS]
    doubted_N = np.exp(-each_N) < 0.5
    share = each_N[doubted_N].sum() / each_N.sum()
    with style():
        picture = SavedFigure(WIDTH, 2.8)
        axes = picture.add_subplot()
        line = np.geomspace(np.exp(-largest), 1, 400)
        axes.plot(line, -np.log(line), color=BLUE, linewidth=2)
        axes.plot(ticks, np.full(len(ticks), -0.06 * largest), "|", color=ORANGE, alpha=0.6)
        axes.plot(np.exp(-largest), largest, "o", color=ORANGE)
        corner = axes.inset_axes((0.2, 0.5, 0.27, 0.5))
        show(corner, inside.test.images_NHWC[worst].astype(np.float32) / 255)
        bare(corner)
        answer, truth = int(inside.scores_NK[worst].argmax()), int(inside.labels_N[worst])
        words = (
            f"The largest loss, {largest:.1f}:\na {truth}, answered {answer}.\n\n"
            f"Mean of {len(each_N):,}\ntest images: {each_N.mean():.2f}.\n"
            f"The {100 * doubted_N.mean():.0f} % below 0.5\nmake up {100 * share:.0f} % of it."
        )
        axes.text(0.5, largest, words, fontsize=9, va="top")
        axes.set_xlim(-0.02, 1.01)
        axes.set_ylim(-0.12 * largest, 1.06 * largest)
        axes.set_yticks(range(0, int(largest) + 1, 4))
        axes.set_xlabel("probability of the true class")
        axes.set_ylabel("loss")
    return picture


def gradient(inside: Inside) -> SavedFigure:
    """Show the gradient of one kernel before training, and plot the loss after one step along the
    gradient of all weights."""
    architecture = inside.saved.architecture
    model = architecture.build(reseed(Generator(), 0, "weights", 0)).eval()
    images_NHWC = torch.from_numpy(inside.train.images_NHWC[:IMAGES])
    labels_N = torch.from_numpy(inside.train.labels_N[:IMAGES])
    pixels_NCHW = inside.saved.preprocess(images_NHWC)
    start = cross_entropy(model(pixels_NCHW), labels_N)
    weights = list(model.parameters())
    slopes = torch.autograd.grad(start, weights)
    steepness = float(sum((one**2).sum() for one in slopes))
    rates = np.linspace(0, 3, 41)
    losses = []
    with torch.no_grad():
        begun = [one.clone() for one in weights]
        for rate in rates.tolist():
            for weight, first, slope in zip(weights, begun, slopes, strict=True):
                weight.copy_(first - rate * slope)
            losses.append(float(cross_entropy(model(pixels_NCHW), labels_N)))
    kernel_hw: Float32Array = slopes[0][inside.filter, 0].numpy()
    with style():
        picture = SavedFigure(WIDTH, 2.3)
        numbers, curve = picture.subplots(1, 2, width_ratios=(1, 1.7))
        signed(numbers, 1000 * kernel_hw, float(1000 * np.abs(kernel_hw).max()), written=True)
        numbers.set_title("gradient of\na kernel, × 1,000", fontsize=9.5)
        curve.plot(rates, losses, color=BLUE, linewidth=2)
        bottom = min(losses) - 0.15 * (max(losses) - min(losses))
        reach = (losses[0] - bottom) / steepness
        curve.plot([0, reach], [losses[0], bottom], color=ORANGE, linewidth=1.5, linestyle="--")
        curve.set_ylim(bottom, max(losses) + 0.05 * (max(losses) - bottom))
        curve.set_title("loss after one step", fontsize=9.5)
        curve.set_xlabel("size of the step (learning rate)", fontsize=9)
    return picture
