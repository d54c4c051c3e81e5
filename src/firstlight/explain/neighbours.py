"""Features of images, and images that a network considers similar.

Axes: N images, H height, W width, C channels, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from firstlight.evaluate.features import features as of_pixels
from firstlight.evaluate.predict import Images, batch_size, pixels_seen
from firstlight.explain.network import UInt8Array, answering, model_input
from firstlight.pixels import Preprocess


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One of many images."""

    index: int
    """Its index among them."""
    similarity: float
    """Cosine similarity of the two images' features, -1 to 1."""


def nearest(
    model: nn.Module,
    preprocess: Preprocess,
    image_HWC: UInt8Array,
    among_NHWC: Images,
    count: int = 9,
    progress: Callable[[int, int], None] | None = None,
) -> list[Neighbour]:
    """Return the ``count`` most similar images, most similar first; ties are ordered by index.

    Features are the input of the last dense layer, for the image itself. Only one batch of images
    is in memory at a time. ``progress`` is called with the number done and the total.
    """
    query_F = features(model, preprocess, image_HWC[None])[0]
    size = batch_size(query_F.device, pixels_seen(model, preprocess))
    similarity_N = np.empty(len(among_NHWC), np.float32)
    for start in range(0, len(among_NHWC), size):
        part = slice(start, start + size)
        found_BF = features(model, preprocess, among_NHWC[part])
        similarity_N[part] = (found_BF @ query_F).cpu().numpy()
        if progress is not None:
            progress(min(part.stop, len(among_NHWC)), len(among_NHWC))
    order = np.argsort(-similarity_N, kind="stable")[:count]
    return [Neighbour(index=int(i), similarity=float(similarity_N[i].clip(-1, 1))) for i in order]


def last_features(
    model: nn.Module,
    preprocess: Preprocess,
    images_NHWC: Images,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the features of N ≥ 1 images, float32 N×F, not scaled: the input of the last dense
    layer, or the scores where there is none. ``progress`` is as in ``nearest``."""
    size = batch_size(next(model.parameters()).device, pixels_seen(model, preprocess))
    parts = []
    for start in range(0, len(images_NHWC), size):
        part = slice(start, start + size)
        with answering(model):
            found_BF = of_pixels(model, model_input(model, preprocess, images_NHWC[part]))
        parts.append(found_BF.cpu().numpy())
        if progress is not None:
            progress(min(part.stop, len(images_NHWC)), len(images_NHWC))
    return np.concatenate(parts)


def features(model: nn.Module, preprocess: Preprocess, images_NHWC: UInt8Array) -> Tensor:
    """Return features float32 N×F of length one, on the model's device; without a dense layer, the
    scores."""
    with answering(model):
        found_NF = of_pixels(model, model_input(model, preprocess, images_NHWC))
    return nn.functional.normalize(found_NF, dim=1)
