"""Accuracy when images are moved, blurred, noisy, pale or compressed.

Six corruptions at five strengths each, after D. Hendrycks & T. Dietterich: Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations, ICLR 2019. The strengths are theirs for
small images, where they give any, as shares of the image's side, so that one table fits every size.
Axes: N images, H height, W width, C channels, K classes.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from firstlight.evaluate.metrics import wilson_interval

UInt8Array = npt.NDArray[np.uint8]

STRENGTHS: dict[str, tuple[float, float, float, float, float]] = {
    "shift": (0.04, 0.08, 0.12, 0.16, 0.20),  # of the side, in a random direction
    "rotation": (8, 16, 24, 32, 40),  # degrees, in a random direction
    "blur": (0.01, 0.02, 0.03, 0.045, 0.06),  # Gaussian, standard deviation as a share of the side
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),  # Gaussian, standard deviation as a share of white
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # share of the image's contrast that is left
    "JPEG": (80, 60, 40, 20, 10),  # quality
}
MOST_IMAGES, MOST_LARGE = 2000, 500
"""Number of images measured, evenly spaced over the set, and of large images: the standard error is
at most 1 and 2 %."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Accuracy under one corruption at one strength."""

    strength: int
    """0 (none) to 5."""
    amount: float
    """The strength in the unit of the corruption."""
    accuracy: float
    interval: tuple[float, float]
    """Wilson score interval, 95 %."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Accuracy by corruption and strength."""

    images: int
    curves: dict[str, tuple[Point, ...]]
    """Six points each; the first is for the unchanged images."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written to ``robustness.json``."""
        return asdict(self)


def corrupt(images_NHWC: UInt8Array, kind: str, strength: int) -> UInt8Array:
    """Apply a corruption of ``STRENGTHS`` at a strength from 1 to 5 to copies of the images.

    Randomness depends only on kind and strength.
    """
    amount = STRENGTHS[kind][strength - 1]
    rng = np.random.default_rng([zlib.crc32(kind.encode()), strength])
    change = _CHANGES[kind]
    return np.stack([change(image_HWC, amount, rng) for image_HWC in images_NHWC])


def measure_robustness(
    images_NHWC: UInt8Array,
    right_of: Callable[[UInt8Array], npt.NDArray[np.bool_]],
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Measure every corruption at every strength.

    ``right_of`` returns, bool N, which of images are answered correctly. ``progress`` is called
    with the number of changed images answered so far and in all.
    """
    count = len(images_NHWC)
    done, total = 0, count * (1 + sum(map(len, STRENGTHS.values())))

    def point(images: UInt8Array, strength: int, amount: float) -> Point:
        nonlocal done
        right = int(right_of(images).sum())
        done += count
        if progress is not None:
            progress(done, total)
        return Point(
            strength=strength,
            amount=amount,
            accuracy=right / count,
            interval=wilson_interval(right, count),
        )

    plain = point(images_NHWC, 0, 0.0)
    curves = {
        kind: (
            plain,
            *(
                point(corrupt(images_NHWC, kind, strength), strength, amount)
                for strength, amount in enumerate(amounts, start=1)
            ),
        )
        for kind, amounts in STRENGTHS.items()
    }
    return Robustness(images=count, curves=curves)


def _shift(image_HWC: UInt8Array, share: float, rng: np.random.Generator) -> UInt8Array:
    """Move by whole pixels; repeat the edge where the image moved away."""
    height, width = image_HWC.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    down, right = round(share * height * np.sin(angle)), round(share * width * np.cos(angle))
    padded = np.pad(image_HWC, ((height,) * 2, (width,) * 2, (0, 0)), mode="edge")
    return padded[height - down : 2 * height - down, width - right : 2 * width - right]


def _rotation(image_HWC: UInt8Array, degrees: float, rng: np.random.Generator) -> UInt8Array:
    height, width = image_HWC.shape[:2]
    signed = degrees * (1 if rng.random() < 0.5 else -1)
    # A rotation by up to 45° needs less than half a side from outside.
    down, right = height // 2, width // 2
    padded = np.pad(image_HWC, ((down,) * 2, (right,) * 2, (0, 0)), mode="edge")
    turned = _opened(padded).rotate(signed, Image.Resampling.BILINEAR)
    return _pixels(turned, padded)[down : down + height, right : right + width]


def _blur(image_HWC: UInt8Array, share: float, rng: np.random.Generator) -> UInt8Array:
    deviation = share * min(image_HWC.shape[:2])
    return _pixels(_opened(image_HWC).filter(ImageFilter.GaussianBlur(deviation)), image_HWC)


def _noise(image_HWC: UInt8Array, deviation: float, rng: np.random.Generator) -> UInt8Array:
    return _levels(image_HWC + 255 * deviation * rng.standard_normal(image_HWC.shape))


def _contrast(image_HWC: UInt8Array, share: float, rng: np.random.Generator) -> UInt8Array:
    """Each channel moved towards its mean."""
    mean_C = image_HWC.mean(axis=(0, 1))
    return _levels(mean_C + share * (image_HWC - mean_C))


def _jpeg(image_HWC: UInt8Array, quality: float, rng: np.random.Generator) -> UInt8Array:
    file = io.BytesIO()
    _opened(image_HWC).save(file, "JPEG", quality=int(quality))
    with Image.open(file) as image:
        return _pixels(image, image_HWC)


_Change = Callable[[UInt8Array, float, np.random.Generator], UInt8Array]
_CHANGES: dict[str, _Change] = {
    "shift": _shift,
    "rotation": _rotation,
    "blur": _blur,
    "noise": _noise,
    "contrast": _contrast,
    "JPEG": _jpeg,
}


def _opened(image_HWC: UInt8Array) -> Image.Image:
    return Image.fromarray(image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC)


def _pixels(image: Image.Image, like_HWC: UInt8Array) -> UInt8Array:
    return np.asarray(image).reshape(like_HWC.shape)


def _levels(values: npt.NDArray[np.float64]) -> UInt8Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
