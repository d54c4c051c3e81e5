"""The features of a data set's pictures, from the cache or newly computed.

They are computed and stored in an order that depends only on the pictures' content. So equal
pictures have equal features, to the bit, in any order and with any labels: after a correction of
labels, nothing is computed again. Axes: V views, N images, H height, W width, C channels, F
features.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import nn

from firstlight.data.dataset import Dataset, Int64Array, UInt8Array
from firstlight.layers.network import Network
from firstlight.layers.root import feature_layers
from firstlight.models.network import head
from firstlight.pixels import Preprocess
from firstlight.training.extraction import VIEWS, Progress, engine, extract
from firstlight.training.kept_features import Float32Array, KeptFeatures, Source, kept_features


@dataclass(frozen=True, kw_only=True, eq=False)
class Extractor:
    """A network that computes features, the input of its last dense layer."""

    model: nn.Module
    preprocess: Preprocess
    sha256: str
    """SHA-256 of everything in the network that features depend on; empty to store nothing."""


def extractor_of(model: nn.Module, preprocess: Preprocess, network: Network) -> Extractor:
    """Return the extractor of a network that is a list of layers and ends in a dense one. Features
    do not depend on that last layer."""
    whole, last = hashlib.sha256(repr(feature_layers(network.layers)).encode()), f"{head(model)}."
    for name, tensor in model.state_dict().items():
        if not name.startswith(last):
            whole.update(name.encode())
            whole.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return Extractor(model=model, preprocess=preprocess, sha256=whole.hexdigest())


def picture_features(
    extractor: Extractor, data: Dataset, views: tuple[str, ...], progress: Progress | None
) -> KeptFeatures:
    """Return float32 V×N×F of all images, in the data set's order. If more views are cached than
    wanted, the first ones are used."""
    order_N = data.content_order
    images = _InOrder(data.images_NHWC, order_N)

    def make() -> Float32Array:
        mirror = len(views) > 1
        return extract(
            extractor.model, extractor.preprocess, images, mirror=mirror, progress=progress
        )

    if extractor.sha256:
        source = Source(
            pixels=data.pictures,
            network=extractor.sha256,
            preprocess=extractor.preprocess,
            views=views,
            engine=engine(next(extractor.model.parameters()).device.type),
        )
        found = kept_features(source, len(data), make, VIEWS)
    else:
        found = KeptFeatures(features_VNF=make(), found=False)
    places_N = np.empty_like(order_N)
    places_N[order_N] = np.arange(len(order_N))
    return replace(found, features_VNF=found.features_VNF[:, places_N])


class _InOrder:
    """Images in another order, copied or read on demand."""

    def __init__(self, images_NHWC: UInt8Array, order_N: Int64Array) -> None:
        self._images_NHWC, self._order_N = images_NHWC, order_N

    def __len__(self) -> int:
        return len(self._order_N)

    def __getitem__(self, rows: slice) -> npt.NDArray[np.uint8]:
        found: npt.NDArray[np.uint8] = self._images_NHWC[self._order_N[rows]]
        return found
