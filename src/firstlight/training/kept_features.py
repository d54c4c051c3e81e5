"""The cache of features: one file for each network and set of images.

A file begins with one line of JSON, the shape and the SHA-256 of what follows: little-endian
float32 numbers. The hash is checked at every start. Axes: V views, N images, F features.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firstlight import cache
from firstlight.files import cache_folder, make_folder, write_whole
from firstlight.pixels import Preprocess

Float32Array = npt.NDArray[np.float32]

_STORED = np.dtype("<f4")
# Increased with every change of the file format.
_EDITION = 2
_LONGEST_LINE = 1000


@dataclass(frozen=True, kw_only=True)
class Source:
    """Everything that the features depend on."""

    pixels: str
    """``Dataset.pictures`` of the images. Features are stored in the order of image content."""
    network: str
    """SHA-256 of the file with the network and its weights."""
    preprocess: Preprocess
    views: tuple[str, ...]
    engine: str
    """``extraction.engine``."""

    @property
    def name(self) -> str:
        """40 hexadecimal digits, unique to this source."""
        parts = [self.pixels, self.network, self.preprocess.to_json(), self.views, self.engine]
        text = json.dumps([_EDITION, *parts], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptFeatures:
    """Features, with warnings."""

    features_VNF: Float32Array
    found: bool
    """Whether they were in the cache."""
    warnings: tuple[str, ...] = ()
    """Messages: the cache was damaged, or cannot be written."""


def kept_features(
    source: Source,
    images: int,
    make: Callable[[], Float32Array],
    more: tuple[str, ...] = (),
) -> KeptFeatures:
    """Return the features of the images from the cache, or compute and store them.

    ``more`` names views that begin with the wanted ones; if those are stored, they are used. A
    damaged file is computed again. If nothing can be written, the work continues without the cache.
    ``warnings`` says so in both cases.
    """
    shelf, wanted = cache_folder() / "features", len(source.views)
    file, warnings = shelf / source.name, list[str]()
    for views in dict.fromkeys((source.views, more)):
        there = shelf / replace(source, views=views).name
        if not there.exists():
            continue
        try:
            found_VNF = _read(there, (len(views), images))[:wanted]
            cache.opened(there)
            return KeptFeatures(features_VNF=found_VNF, found=True)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            damage = getattr(error, "strerror", None) or error
            warnings.append(
                f"the cached features of these images are damaged ({damage}) and are computed again"
            )
    made_VNF = make()
    try:
        make_folder(shelf)
        write_whole(file, _written(made_VNF))
        cache.make_room()
    except OSError as error:
        warnings.append(
            f"{shelf}: features cannot be stored there ({error.strerror}), so the next training "
            "computes them again. Free some disk space, or set XDG_CACHE_HOME to a folder that "
            "can be written"
        )
    return KeptFeatures(features_VNF=made_VNF, found=False, warnings=tuple(warnings))


def _written(features_VNF: Float32Array) -> bytes:
    numbers_VNF = np.ascontiguousarray(features_VNF, dtype=_STORED)
    about = {"shape": numbers_VNF.shape, "sha256": _sum(numbers_VNF)}
    return b"".join([json.dumps(about).encode(), b"\n", numbers_VNF.data.cast("B")])


def _read(file: Path, wanted: tuple[int, int]) -> Float32Array:
    """Read a file. Raises ``ValueError`` or ``OSError`` if it is damaged or missing."""
    with file.open("rb") as stream:
        try:
            about = json.loads(stream.readline(_LONGEST_LINE))
        except ValueError as error:
            raise ValueError("it does not begin with what was written") from error
        views, images, width = (int(side) for side in about["shape"])
        if (views, images) != wanted or width < 1:
            raise ValueError(f"of the shape {about['shape']}")
        size = views * images * width * _STORED.itemsize
        if file.stat().st_size != stream.tell() + size:
            raise ValueError("cut short")
        numbers_VNF = np.empty((views, images, width), _STORED)
        stream.readinto(numbers_VNF.data.cast("B"))
    if about["sha256"] != _sum(numbers_VNF):
        raise ValueError("changed since it was written")
    return numbers_VNF.astype(np.float32, copy=False)


def _sum(numbers_VNF: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(numbers_VNF.data.cast("B")).hexdigest()
