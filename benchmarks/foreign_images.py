"""Images that belong to no class of MNIST or CIFAR-10, generated or taken from the other set.

Each function takes a count and a generator and returns uint8 images count×H×W×C. Axes: N images, H
height, W width, C channels.
"""

import zlib
from collections.abc import Callable
from itertools import permutations

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

import firstlight as fl

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
Maker = Callable[[int, Generator], UInt8Array]
MNIST_SIDE, CIFAR10_SIDE = 28, 32
LEAST_CONTRAST = 100
"""Least difference between two colours of an image, in levels of the channel that differs most."""


def foreign(name: str, count: int) -> dict[str, UInt8Array]:
    """Return ``count`` images of each kind that is foreign to the named set; deterministic."""
    return {
        kind: make(count, np.random.default_rng(zlib.crc32(f"{name} {kind}".encode())))
        for kind, make in KINDS[name].items()
    }


def grey_noise(count: int, rng: Generator) -> UInt8Array:
    """Every pixel is uniform and independent."""
    return rng.integers(0, 256, (count, MNIST_SIDE, MNIST_SIDE, 1), dtype=np.uint8)


def colour_noise(count: int, rng: Generator) -> UInt8Array:
    """Every channel of every pixel is uniform and independent."""
    return rng.integers(0, 256, (count, CIFAR10_SIDE, CIFAR10_SIDE, 3), dtype=np.uint8)


def grey_photographs(count: int, rng: Generator) -> UInt8Array:
    """CIFAR-10's test images in grey, at MNIST's size."""
    test = fl.load("cifar10").test.images_NHWC
    chosen = rng.permutation(len(test))[:count]
    size = (MNIST_SIDE, MNIST_SIDE)
    small = [Image.fromarray(test[i]).convert("L").resize(size) for i in chosen]
    return np.stack([np.asarray(image) for image in small])[..., None]


def quartered_digits(count: int, rng: Generator) -> UInt8Array:
    """MNIST's test digits cut into quarters, all of which move."""
    test = fl.load("mnist").test.images_NHWC
    half = MNIST_SIDE // 2
    orders = [o for o in permutations(range(4)) if all(o[i] != i for i in range(4))]
    images = np.empty((count, MNIST_SIDE, MNIST_SIDE, 1), np.uint8)
    corners = [(top, left) for top in (0, half) for left in (0, half)]
    for image_HWC, i in zip(images, rng.permutation(len(test))[:count], strict=True):
        order = orders[rng.integers(len(orders))]
        for (top, left), source in zip(corners, order, strict=True):
            y, x = corners[source]
            image_HWC[top : top + half, left : left + half] = test[i, y : y + half, x : x + half]
    return images


def digits_in_colour(count: int, rng: Generator) -> UInt8Array:
    """MNIST's test digits of one colour on another, like a house number."""
    test = fl.load("mnist").test.images_NHWC
    margin = CIFAR10_SIDE - MNIST_SIDE
    masks = np.zeros((count, CIFAR10_SIDE, CIFAR10_SIDE))
    for mask_HW, i in zip(masks, rng.permutation(len(test))[:count], strict=True):
        top, left = rng.integers(0, margin + 1, 2)
        mask_HW[top : top + MNIST_SIDE, left : left + MNIST_SIDE] = test[i, ..., 0] / 255
    return _in_two_colours(masks, rng)


def clouds(count: int, rng: Generator) -> UInt8Array:
    """Noise whose amplitude falls with the spatial frequency, as in photographs, in mixed colours;
    each image uses all levels."""
    side = CIFAR10_SIDE
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf  # zero mean
    slopes_N = rng.uniform(1, 2, count)[:, None, None, None]
    noise = rng.standard_normal((count, 3, side, side))
    smooth = np.fft.irfft2(np.fft.rfft2(noise) / frequency**slopes_N, s=(side, side))
    mixed = np.einsum("nij,njhw->nhwi", rng.standard_normal((count, 3, 3)), smooth)
    low, high = (end(mixed, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    return _levels(255 * (mixed - low) / (high - low))


def stripes(count: int, rng: Generator) -> UInt8Array:
    """Waves of two colours, 3 to 16 pixels long, in any direction; every second image has hard
    edges."""
    y, x = np.mgrid[:CIFAR10_SIDE, :CIFAR10_SIDE]
    angle, period, phase = (rng.uniform(0, to, (count, 1, 1)) for to in (np.pi, 13, 2 * np.pi))
    across = (y * np.sin(angle) + x * np.cos(angle)) / (period + 3)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * across + phase)
    hard = (np.arange(count) % 2 == 1)[:, None, None]
    return _in_two_colours(np.where(hard, np.rint(wave), wave), rng)


def checks(count: int, rng: Generator) -> UInt8Array:
    """Squares of two colours, 2 to 10 pixels wide."""
    y, x = np.mgrid[:CIFAR10_SIDE, :CIFAR10_SIDE]
    cell = rng.integers(2, 11, (count, 1, 1))
    down, right = (rng.integers(0, 20, (count, 1, 1)) for _ in range(2))
    return _in_two_colours(((y + down) // cell + (x + right) // cell) % 2, rng)


def plain_colours(count: int, rng: Generator) -> UInt8Array:
    """A single colour."""
    colours = rng.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return np.tile(colours, (1, CIFAR10_SIDE, CIFAR10_SIDE, 1))


def _in_two_colours(masks_NHW: npt.NDArray[np.generic], rng: Generator) -> UInt8Array:
    """One colour where a mask is 0, another where it is 1, and mixtures between."""
    pairs = rng.integers(0, 256, (len(masks_NHW), 2, 3)).astype(float)
    while (pale := np.abs(pairs[:, 0] - pairs[:, 1]).max(axis=1) < LEAST_CONTRAST).any():
        pairs[pale] = rng.integers(0, 256, (int(pale.sum()), 2, 3))
    ground, ink = pairs[:, 0, None, None], pairs[:, 1, None, None]
    return _levels(ground + masks_NHW[..., None].astype(float) * (ink - ground))


def _levels(values: FloatArray) -> UInt8Array:
    return np.rint(values).astype(np.uint8)


KINDS: dict[str, dict[str, Maker]] = {
    "mnist": {
        "photographs in grey": grey_photographs,
        "digits in shuffled quarters": quartered_digits,
        "noise": grey_noise,
    },
    "cifar10": {
        "digits in colour": digits_in_colour,
        "clouds": clouds,
        "stripes": stripes,
        "checks": checks,
        "plain colours": plain_colours,
        "noise": colour_noise,
    },
}
