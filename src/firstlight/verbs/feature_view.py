"""Features of the user's own pictures from a pretrained network.

Axes: N images, F features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firstlight.backbones import BACKBONES, backbone_named
from firstlight.backbones.weights import is_here, kept, open_backbone
from firstlight.data.dataset import Dataset
from firstlight.data.duplicates import Pairs
from firstlight.data.moved import moved_copies
from firstlight.data.own import Form, load_own
from firstlight.data.rings import nearest_pairs, turned_candidates
from firstlight.data.split import joined
from firstlight.devices import choose_device
from firstlight.progress import Bars
from firstlight.training.extraction import VIEWS
from firstlight.verbs.choose import looks_drawn
from firstlight.verbs.picture_features import Extractor, picture_features

Float32Array = npt.NDArray[np.float32]

NEAREST, ALIKE = 5, 0.2
"""Each picture is compared in detail with at most ``NEAREST`` others whose whitened features have
at least the product ``ALIKE``: a crop to three quarters at a corner is among them in 146 of 150
cases."""
_MOST_DIRECTIONS, _EACH_DIRECTION = 512, 8
_FEW = 64
"""With at most this many pictures, every pair is compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureView:
    """The pictures of both parts, and their features."""

    backbone: str
    data: Dataset
    """In the backbone's size and colours; nothing is held out."""
    features_NF: Float32Array
    """float32, the input of the backbone's last dense layer."""
    warnings: tuple[str, ...]
    """Warnings that the feature cache was damaged, or is not writable."""


def backbone_here() -> str:
    """Return the first backbone of the table whose weights are on this machine, or an empty
    text."""
    return next((name for name in BACKBONES if is_here(name)), "")


def are_photographs(path: Path, channels: int, *, allow_outside: bool = False) -> bool:
    """Whether the pictures resemble those of a pretrained network: colours, or grey but no drawings
    on a plain background. ``channels`` is what training would choose. Raises ``DataError``."""
    if channels == 3:
        return True
    return not looks_drawn(load_own(path, allow_outside=allow_outside).train)


def compute_features(
    path: Path,
    backbone: str,
    bars: Bars,
    *,
    allow_outside: bool = False,
) -> FeatureView:
    """Decode every picture in the backbone's size, and compute its features or take them from the
    cache.

    Raises ``DataError`` as ``load_own`` and ``open_backbone`` do.
    """
    device = choose_device("auto")
    saved = open_backbone(backbone, device=device)
    form = Form(shape=saved.architecture.image_shape)
    with bars("decoding") as decoding:
        data = joined(load_own(path, form, allow_outside=allow_outside, progress=decoding))
    with bars(f"{backbone} looks at") as bar:
        here = kept(backbone_named(backbone))
        extractor = Extractor(
            model=saved.model,
            preprocess=saved.preprocess,
            sha256="" if here is None else here.model_sha256,  # the cache is not writable
        )
        found = picture_features(extractor, data, VIEWS[:1], bar)
    features_NF = found.features_VNF[0]
    return FeatureView(
        backbone=backbone, data=data, features_NF=features_NF, warnings=found.warnings
    )


def copies_by_features(view: FeatureView) -> Pairs:
    """Return index pairs (i, j), i < j, of pictures of which one is a cropped or rotated copy of
    the other. The candidates come from the features, or from the rings around the centre."""
    images_NHWC, count = view.data.images_NHWC, len(view.data)
    if count <= _FEW:
        candidates = {(i, j) for j in range(count) for i in range(j)}
    else:
        near = nearest_pairs(_whitened(view.features_NF), NEAREST, ALIKE)
        candidates = {*near, *turned_candidates(images_NHWC)}
    return moved_copies(images_NHWC, sorted(candidates))


def _whitened(features_NF: Float32Array) -> Float32Array:
    """Return whitened features of length 1: along the principal axes, in units of their
    deviation."""
    centred_NF = features_NF - features_NF.mean(axis=0)
    squares_FF = centred_NF.T @ centred_NF / len(centred_NF)
    variances_F, directions_FF = np.linalg.eigh(squares_FF.astype(np.float64))
    most = min(_MOST_DIRECTIONS, max(1, len(features_NF) // _EACH_DIRECTION))
    weights_F = 1 / np.sqrt(np.maximum(variances_F[-most:], 1e-12))
    white_NF = centred_NF @ (directions_FF[:, -most:] * weights_F)
    lengths_N1 = np.linalg.norm(white_NF, axis=1, keepdims=True)
    found_NF: Float32Array = (white_NF / np.maximum(lengths_N1, 1e-6)).astype(np.float32)
    return found_NF
