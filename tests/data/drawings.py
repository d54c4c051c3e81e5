"""Pictures that look similar but are not copies: noise with a mark, drawings, letters."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pictures = np.ndarray


def noise_with(mark: str, count: int = 80, side: int = 32, levels: int = 90) -> Pictures:
    """A bright row, column or dot at a random position, on independent noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, levels, (count, side, side, 3), dtype=np.uint8)
    y, x = np.mgrid[:side, :side]
    for image in images:
        row, column = rng.integers(4, side - 6, 2)
        inside = {
            "row": abs(y - row) < 2,
            "column": abs(x - column) < 2,
            "dot": np.hypot(y - row, x - column) < 3.5,
        }[mark]
        image[inside] = (250, 200, 90)
    return images


def defects(count: int = 80) -> Pictures:
    """A scratch on a texture that differs in each picture."""
    rng = np.random.default_rng(1)
    images = []
    for _ in range(count):
        grains = Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8))
        texture = grains.filter(ImageFilter.GaussianBlur(1.5))
        ImageDraw.Draw(texture).rectangle((k := int(rng.integers(8, 44)), 20, k + 3, 50), fill=250)
        images.append(np.asarray(texture)[..., None])
    return np.stack(images)


def corners_darkened(count: int = 80) -> Pictures:
    """A plain background under a lamp; only faint noise differs."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    ground = 200 - 60 * np.hypot(y, x)[None]
    images: Pictures = (ground + rng.normal(0, 3, (count, 64, 64))).clip(0, 255).astype(np.uint8)
    return images[..., None]


def shapes(count: int = 120, side: int = 64, noise: float = 0) -> Pictures:
    """Discs, squares and triangles of three sizes at random positions."""
    rng = np.random.default_rng(3)
    images = []
    for k in range(count):
        image = Image.new("L", (2 * side, 2 * side), 20)
        draw, radius = ImageDraw.Draw(image), 2 * int(rng.choice((8, 11, 14)))
        x, y = side + 2 * rng.integers(-14, 15, 2)
        box = (x - radius, y - radius, x + radius, y + radius)
        if k % 3 == 0:
            draw.ellipse(box, fill=220)
        elif k % 3 == 1:
            draw.rectangle(box, fill=220)
        else:
            draw.polygon([(x, y - radius), (box[0], box[3]), (box[2], box[3])], fill=220)
        small = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).astype(float)
        images.append(small + rng.normal(0, noise, small.shape) if noise else small)
    return np.stack(images).clip(0, 255).astype(np.uint8)[..., None]


def letters(count: int = 160, size: int = 20, farthest: int = 6, noise: float = 0) -> Pictures:
    """Eight letters of one font, at random positions; picture k shows letter k % 8."""
    rng = np.random.default_rng(4)
    font = ImageFont.load_default(size)
    images = []
    for k in range(count):
        image = Image.new("L", (32, 32), 255)
        x, y = 16 + rng.integers(-farthest, farthest + 1, 2)
        ImageDraw.Draw(image).text((x, y), "ABCEFGHR"[k % 8], font=font, fill=0, anchor="mm")
        images.append(np.asarray(image) + rng.normal(0, noise, (32, 32)))
    return np.stack(images).clip(0, 255).astype(np.uint8)[..., None]


def windows(count: int = 40) -> Pictures:
    """Screens with the same title and different lines of text."""
    rng = np.random.default_rng(5)
    font = ImageFont.load_default(9)
    images = []
    for _ in range(count):
        image = Image.new("L", (96, 96), 255)
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, 96, 10), fill=60)
        draw.text((2, 0), "Window", font=font, fill=255)
        for row in range(6):
            words = "".join(rng.choice(list("abcdefghij klmno"), 12))
            draw.text((4, 14 + 13 * row), words, font=font, fill=0)
        images.append(np.asarray(image)[..., None])
    return np.stack(images)


NOISY: dict[str, Callable[[], Pictures]] = {
    "a row on noise": lambda: noise_with("row"),
    "a column on noise": lambda: noise_with("column"),
    "a dot on noise": lambda: noise_with("dot"),
    "large pictures of a row on noise": lambda: noise_with("row", side=96),
    "a dot on weaker noise": lambda: noise_with("dot", levels=40),
    "defects": defects,
    "bare ground": corners_darkened,
    "letters on noise": lambda: letters(noise=10),
    "windows": windows,
}
"""No two pictures in these are copies."""
DRAWN: dict[str, Callable[[], Pictures]] = {
    "shapes": shapes,
    "shapes on noise": lambda: shapes(noise=8),
    "letters": letters,
    "a row on faint noise": lambda: noise_with("row", side=64, levels=10),
}
"""Some pictures in these may be the same by chance, or when rotated."""
