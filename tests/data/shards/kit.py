"""Shards for tests, written with Python's tarfile: dark images with a bright row or column."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Member = tuple[str, bytes]


def picture(number: int, size: int = 32) -> bytes:
    """Return a PNG of noise, drawn by its number: even ones have a bright column, odd ones a
    row."""
    rng = np.random.default_rng(number)
    image_HWC = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    place = rng.integers(1, size - 1)
    image_HWC[(place, slice(None)) if number % 2 else (slice(None), place)] = 250
    out = io.BytesIO()
    Image.fromarray(image_HWC).save(out, "PNG", compress_level=1)
    return out.getvalue()


def write_tar(path: Path, members: Sequence[Member]) -> Path:
    """Write a tar of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            one = tarfile.TarInfo(name)
            one.size = len(content)
            tar.addfile(one, io.BytesIO(content))
    return path


def samples(numbers: Sequence[int]) -> list[Member]:
    """Return an image and its class for each number."""
    return [
        member
        for n in numbers
        for member in ((f"{n:05d}.png", picture(n)), (f"{n:05d}.cls", str(n % 2).encode()))
    ]


def write_shards(folder: Path, count: int, each: int) -> Path:
    """Write ``folder/images-000000.tar`` and so on, with images 0 to ``count`` - 1."""
    for shard, start in enumerate(range(0, count, each)):
        numbers = range(start, min(start + each, count))
        write_tar(folder / f"images-{shard:06d}.tar", samples(numbers))
    return folder
