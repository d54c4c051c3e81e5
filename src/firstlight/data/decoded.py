"""Pictures decoded once into one file of raw pixels.

Axes: N images, H height, W width, C channels.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firstlight.data.decode import decode, open_picture
from firstlight.data.pictures import PictureSource, prepare_named
from firstlight.errors import DataError
from firstlight.pixels import Preprocess
from firstlight.threads import usable_threads

Progress = Callable[[int, int], None]
"""Called with the number of pictures that are done, and the total."""
Shape = tuple[int, int, int]

LEAST_SIDE, MOST_SIDE = 28, 128
SAMPLE = 256
"""The number of pictures that decide the shape."""
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The result for each picture."""

    origins: tuple[bytes, ...]
    """The identity of each picture, from ``prepare_named``; empty if it could not be read."""
    problems: tuple[tuple[str, str], ...]
    """(name, reason) of each unreadable picture, in order."""
    notes: tuple[str, ...]
    """What was done to how many pictures."""

    @property
    def unread(self) -> list[str]:
        """The problems as messages."""
        return [f"{name}: {why}; left out" for name, why in self.problems]


def file_digests(root: Path, names: Sequence[str]) -> list[bytes]:
    """Return the BLAKE2 hash of each file's bytes, empty if it cannot be read."""

    def one(name: str) -> bytes:
        try:
            with open_picture(name, root / name) as stream:
                content = stream.read()
        except (DataError, OSError):
            return b""
        return hashlib.blake2b(content, digest_size=16).digest()

    with ThreadPoolExecutor(usable_threads()) as pool:
        return list(pool.map(one, names, chunksize=_CHUNK))


OF_NETWORK = "the network's input size"
"""The reason for a given shape, if the caller states none."""


def choose_shape(
    sources: Sequence[PictureSource], size: int | None, shape: Shape | None = None
) -> tuple[Shape, str]:
    """Choose height, width and channels for these pictures from a sample; return the reason too.

    ``size`` or ``shape`` decide if given. If all pictures have one size within 28 to 128 pixels, it
    is used. Otherwise the images are squares of the median shorter side, within these bounds. They
    have one channel if no picture of the sample is in colour.
    """
    if shape is not None:
        return shape, f"{shape[1]} × {shape[0]} {_kind(shape[2])}, {OF_NETWORK}"
    with ThreadPoolExecutor(usable_threads()) as pool:
        looked_at = pool.map(_look, sources[:: max(1, len(sources) // SAMPLE)])
        seen = [found for found in looked_at if found is not None]
    sizes, colour = Counter(shape for shape, _ in seen), any(colour for _, colour in seen)
    if not sizes:
        raise DataError(f"none of the pictures can be read; the first is {sources[0].name}")
    channels = 3 if colour else 1
    kind = _kind(channels)
    shorter = sorted(min(one) for one in sizes.elements())
    median = shorter[len(shorter) // 2]
    if size is not None:
        return (size, size, channels), f"{size} × {size} {kind}, as asked for"
    if len(sizes) == 1:
        ((width, height),) = sizes
        if min(width, height) >= LEAST_SIDE and max(width, height) <= MOST_SIDE:
            return (height, width, channels), f"{width} × {height} {kind}, as they all are"
    side = min(MOST_SIDE, max(LEAST_SIDE, median))
    which = "all have" if len(sizes) == 1 else "the median of"
    reason = f"{side} × {side} {kind}; {which} shorter sides of {median}"
    if side != median:
        reason += f", brought within {LEAST_SIDE} to {MOST_SIDE}"
    return (side, side, channels), reason


def _look(source: PictureSource) -> tuple[tuple[int, int], bool] | None:
    """Return width and height, and whether there are colours; None if it cannot be read."""
    try:
        image = decode(source.name, source.content, [])
    except DataError:
        return None
    if image.mode != "RGB":
        return image.size, False
    pixels_HWC = np.asarray(image)
    return image.size, bool((pixels_HWC != pixels_HWC[..., :1]).any())


def decode_into(
    file: Path, sources: Sequence[PictureSource], shape: Shape, progress: Progress | None = None
) -> Decoded:
    """Decode every picture on all cores into ``file``: N×H×W×C bytes, in order.

    An unreadable picture is zeros there, and is named in the result. Raises ``OSError`` if the file
    cannot be written.
    """
    height, width, channels = shape
    row = height * width * channels
    as_is = Preprocess(
        height=height, width=width, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels
    )
    origins, problems = [b""] * len(sources), dict[int, str]()
    counts: Counter[str] = Counter()

    def chunk(start: int) -> tuple[int, bytes, list[tuple[str, ...]]]:
        blob, told = bytearray(), []
        for at in range(start, min(start + _CHUNK, len(sources))):
            try:
                picture, origins[at] = prepare_named(sources[at], as_is)
            except DataError as error:
                problems[at] = str(error).removeprefix(f"{sources[at].name}: ")
                blob += bytes(row)
                continue
            blob += picture.image_HWC.tobytes()
            told.append(picture.notes)
        return start, bytes(blob), told

    with file.open("wb") as out, ThreadPoolExecutor(usable_threads()) as pool:
        # ``map`` keeps the order. Only a few chunks wait to be written.
        starts = range(0, len(sources), _CHUNK)
        for first in range(0, len(starts), 16):
            for start, blob, told in pool.map(chunk, starts[first : first + 16]):
                out.write(blob)
                for notes in told:
                    counts.update(note for note in notes if not _of_course(note))
                if progress is not None:
                    progress(min(start + _CHUNK, len(sources)), len(sources))
    return Decoded(
        origins=tuple(origins),
        problems=tuple((sources[at].name, problems[at]) for at in sorted(problems)),
        notes=tuple(f"{note}: {_pictures(count)}" for note, count in sorted(counts.items())),
    )


def _kind(channels: int) -> str:
    return "grey" if channels == 1 else "colour"


def _of_course(note: str) -> bool:
    """Return whether a note differs between pictures and surprises nobody."""
    return note.startswith(("resized from", "middle "))


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
