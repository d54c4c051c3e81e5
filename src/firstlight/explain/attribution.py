"""Which parts of an image a score depends on, by three methods.

Each explains the score (logit) of one class as used for the answer: averaged over views if the
network averages. Axes: H height, W width, C channels of the image; h, w of maps.
"""

import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.evaluate.predict import LARGE, batch_size, pixels_seen
from firstlight.explain.network import (
    answering,
    is_activation,
    layer_of,
    model_input,
    watched,
)
from firstlight.layers import Attention
from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

GAP = 0.01
"""The error that integrated gradients may have, as a share of the difference in score."""
FEWEST_STEPS, MOST_STEPS = 64, 4096
LARGE_STEPS = 96
"""Number of steps for large images, whatever the error: 4,096 would take minutes."""
# The rounding error of float32 sums, as a share of the largest score.
ROUNDING = 1e-5
# Maps with fewer cells per side say nothing about position.
FEWEST_CELLS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class GradCam:
    """Regions that support a class."""

    values_HW: Float32Array
    """float32, not negative, smoothly resized to the image."""
    cells: tuple[int, int]
    """Height and width of the maps that they come from; 0 and 0 if the network has no maps, and
    then all values are zero."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Integrated:
    """Each pixel's contribution to a class's score along the path from the baseline to the
    image."""

    values_HW: Float32Array
    """float32, summed over channels; negative values speak against the class."""
    difference: float
    """Score of the image minus score of the baseline."""
    gap: float
    """The difference between the values' sum and ``difference``, as a share of it; 0 if both are
    zero."""
    steps: int
    """Points on the path where gradients were taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Occluded:
    """How much the score falls when a part is covered."""

    values_HW: Float32Array
    """float32: at each pixel, the mean over the patches that cover it; negative if the score
    rose."""
    patch: int
    """Side of a patch, in pixels."""


def ground(preprocess: Preprocess, image_HWC: UInt8Array) -> UInt8Array:
    """Return a baseline image H×W×C: black for light strokes on a dark background, otherwise the
    image's mean colour."""
    if preprocess.light_on_dark:
        return np.zeros_like(image_HWC)
    colour_C = image_HWC.mean(axis=(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(colour_C, image_HWC.shape).copy()


def grad_cam(
    model: nn.Module, preprocess: Preprocess, image_HWC: UInt8Array, class_index: int
) -> GradCam:
    """Grad-CAM: maps weighted by the mean of the score's gradient over each, then ReLU (Selvaraju
    et al. 2017, eq. 1 and 2).

    The maps are the last ones after an activation with at least 3 cells per side, or the first ones
    if none has that many. If no activation gives maps, those of any layer are used. If the answer
    averages over views, they are those of the image itself. Maps before self-attention are not
    used, because attention mixes positions.
    """
    # Captum would use the maps of the last view if the network averages over views.
    bent: list[Tensor] = []
    others: list[Tensor] = []

    def note(name: str, module: nn.Module, result: Tensor) -> None:
        if isinstance(layer_of(module), Attention):  # mixes all positions of the maps before it
            bent.clear()
            others.clear()
        elif result.dim() == 4:
            (bent if is_activation(module) else others).append(result)

    with torch.enable_grad():
        pixels_1CHW = model_input(model, preprocess, image_HWC[None]).requires_grad_()
        score = watched(model, pixels_1CHW, note)[0, class_index]
        if not (maps := bent or others):
            return GradCam(values_HW=np.zeros(image_HWC.shape[:2], np.float32), cells=(0, 0))
        chosen_1Chw = _last_fine_enough(maps)
        (gradient_1Chw,) = torch.autograd.grad(
            score, chosen_1Chw, allow_unused=True, materialize_grads=True
        )
    weights_1C11 = gradient_1Chw.mean(dim=(2, 3), keepdim=True)
    cam_11hw = (weights_1C11 * chosen_1Chw.detach()).sum(dim=1, keepdim=True).relu()
    whole_11HW = nn.functional.interpolate(cam_11hw, image_HWC.shape[:2], mode="bilinear")
    height, width = cam_11hw.shape[2:]
    return GradCam(values_HW=_array(whole_11HW[0, 0]), cells=(height, width))


def integrated_gradients(
    model: nn.Module,
    preprocess: Preprocess,
    image_HWC: UInt8Array,
    class_index: int,
    *,
    gap: float = GAP,
) -> Integrated:
    """Integrated gradients from the baseline to the image (Sundararajan, Taly and Yan 2017, eq. 1).

    The values sum to the difference of the two scores (completeness). Steps are added until the
    error of the sum is below ``gap``, or there are 4,096. Large images use 96 steps; a transformer
    uses 24 if these are enough.
    """
    with answering(model):
        both_2HWC = np.stack([image_HWC, ground(preprocess, image_HWC)])
        pixels_2CHW = model_input(model, preprocess, both_2HWC)
        with torch.no_grad():
            scores_2 = model(pixels_2CHW)[:, class_index].cpu().double()  # Apple's GPUs have none
        difference = float(scores_2[0] - scores_2[1])
        method = _captum().IntegratedGradients(model)
        pixels = pixels_seen(model, preprocess)
        steps, most = _steps(model, pixels)
        while True:
            values_CHW = method.attribute(
                pixels_2CHW[:1],
                pixels_2CHW[1:],
                target=class_index,
                n_steps=steps,
                # ReLU and max-pooling make the gradient jump, so higher-order rules gain nothing.
                method="riemann_middle",
                internal_batch_size=batch_size(pixels_2CHW.device, pixels),
            )[0].detach()
            missed = abs(float(values_CHW.cpu().double().sum()) - difference)
            share = missed / abs(difference) if difference else float(missed > 0)
            if share < gap or steps >= most:
                break
            steps *= 4
    return Integrated(
        values_HW=_array(values_CHW.sum(dim=0)), difference=difference, gap=share, steps=steps
    )


def _captum() -> Any:
    """Import Captum late, because it takes half a second. In a notebook, its unused progress bars
    would warn that ipywidgets is missing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        return import_module("captum.attr")


def _steps(model: nn.Module, pixels: int) -> tuple[int, int]:
    """Return the first and the largest number of steps."""
    if pixels <= LARGE:
        return FEWEST_STEPS, MOST_STEPS
    # A transformer is smooth, so few steps are enough; a network with ReLUs needs all of them.
    is_smooth = any(isinstance(layer_of(module), Attention) for module in model.modules())
    return LARGE_STEPS // 4 if is_smooth else LARGE_STEPS, LARGE_STEPS


def occlusion(
    model: nn.Module, preprocess: Preprocess, image_HWC: UInt8Array, class_index: int
) -> Occluded:
    """Cover one square patch after another with the baseline, and measure how much the score falls
    (Zeiler and Fergus 2014, section 4.2). A patch is a fifth of the image wide. It moves by a third
    of its side, or by half in large images."""
    height, width, channels = image_HWC.shape
    patch = max(1, round(min(height, width) / 5))
    pixels = pixels_seen(model, preprocess)
    stride = patch // 2 if pixels > LARGE else max(1, round(patch / 3))
    both_2HWC = np.stack([image_HWC, ground(preprocess, image_HWC)])
    pixels_2CHW = model_input(model, preprocess, both_2HWC)
    with answering(model), torch.no_grad():
        largest = float(model(pixels_2CHW[:1]).abs().max())
        values_CHW = (
            _captum()
            .Occlusion(model)
            .attribute(
                pixels_2CHW[:1],
                sliding_window_shapes=(channels, patch, patch),
                strides=(channels, stride, stride),
                baselines=pixels_2CHW[1:],
                target=class_index,
                perturbations_per_eval=batch_size(pixels_2CHW.device, pixels),
            )[0]
        )
    # A patch covers all channels at once, so each channel holds the same.
    values_HW = _array(values_CHW[0])
    # The same image alone and in a batch differs in the last bits; that is not an effect of a
    # patch.
    values_HW[np.abs(values_HW) < ROUNDING * largest] = 0
    return Occluded(values_HW=values_HW, patch=patch)


def _last_fine_enough(maps: list[Tensor]) -> Tensor:
    fine = [m for m in maps if min(m.shape[2:]) >= FEWEST_CELLS]
    return fine[-1] if fine else maps[0]


def _array(tensor_HW: Tensor) -> Float32Array:
    values: Float32Array = tensor_HW.detach().float().cpu().contiguous().numpy()
    return values
