"""Turn any picture file into one uint8 image that a trained model accepts.

This finds the files, decodes them to upright 8-bit grey or colour, and fits them to the size,
channels and polarity of the training images. ``pixels.Preprocess`` continues from there. Notes say
what was done. Axes: H height, W width, C channels.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from firstlight.data.decode import ANY, Bounds, Encoded, decode
from firstlight.data.formats import WANTED, is_heic_name, is_picture_file
from firstlight.data.strokes import Fitted, fit_stroke, ground_level, is_blank, is_dark_on_light
from firstlight.errors import DataError
from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]

MAX_BYTES = 256 * 1024**2
"""The limit for one picture on standard input."""
ENOUGH_SIDE = 1024
"""Side in pixels. A picture with at least four times as many pixels is reduced to about this."""


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """One requested picture. ``prepare`` finds out whether it can be read."""

    name: str
    """As the user gave it; ``-`` is standard input."""
    content: Path | bytes | Encoded | Image.Image = b""
    """The picture's path, or the picture itself: a file's bytes, or opened with Pillow."""
    problem: str = ""
    """Why there is no picture; otherwise empty."""
    notes: tuple[str, ...] = ()
    """Messages about what was already done to it."""
    key: str = ""
    """For a row of a table: its number from 1, or its cell in the requested column."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One picture in the form that a model accepts."""

    name: str
    image_HWC: UInt8Array
    """uint8, with the model's height, width and channels."""
    notes: tuple[str, ...]
    """What was done to it that the user should know, in order."""
    doubt: str = ""
    """What in the picture may mislead a model, and what to do; empty if nothing was found."""


def expand(sources: Sequence[str], stdin: BinaryIO | None = None) -> list[PictureSource]:
    """List every picture that the words name, in order.

    A word is a file, a folder (all pictures in it and its subfolders, sorted, without hidden
    files), a pattern (``**`` matches any depth) or ``-``, one picture on ``stdin``. A file without
    a known extension is recognized by its content. A word that matches nothing returns one entry
    with a ``problem``. Nothing is decoded here.
    """
    return list(each_picture(sources, stdin))


def each_picture(sources: Sequence[str], stdin: BinaryIO | None = None) -> Iterator[PictureSource]:
    """Do ``expand`` lazily: even of millions of files, only the paths are in memory."""
    for word in sources:
        if word == "-":
            yield _standard_input(stdin)
            # Standard input can be read once: a second "-" has nothing left.
            stdin = None
        else:
            yield from _expand_word(word)


def prepare(source: PictureSource, preprocess: Preprocess, bounds: Bounds = ANY) -> Picture:
    """Return the picture as uint8 with ``preprocess.image_shape``.

    A picture with the model's size, channels and polarity is returned unchanged. Otherwise a model
    of centred strokes gets the stroke fitted and centred like MNIST's, another light-on-dark model
    gets the whole picture on a black background, and any other model gets the middle of the
    picture. Raises ``DataError``, which names the file, if it cannot be read as a picture.
    """
    notes = list(source.notes)
    image = _opened(source, _enough_side(preprocess), notes, bounds)
    return _fitted(source.name, image, preprocess, notes)


def prepare_named(source: PictureSource, preprocess: Preprocess) -> tuple[Picture, bytes]:
    """Do ``prepare``, and return 16 bytes that identify the picture at every size: the BLAKE2 hash
    of its pixels as opened for small sizes, of one channel if it has no colours."""
    notes, side = list(source.notes), _enough_side(preprocess)
    image = _opened(source, side, notes)
    seen = image if side == ENOUGH_SIDE else _opened(source, ENOUGH_SIDE, [])
    if seen.mode == "RGB" and not _has_colour(seen):
        seen = seen.getchannel(0)
    name = hashlib.blake2b(seen.tobytes(), digest_size=16).digest()
    return _fitted(source.name, image, preprocess, notes), name


def _enough_side(preprocess: Preprocess) -> int:
    """Return the side in pixels to which large pictures may be reduced."""
    return max(ENOUGH_SIDE, 3 * max(preprocess.image_shape))


def _opened(
    source: PictureSource, side: int, notes: list[str], bounds: Bounds = ANY
) -> Image.Image:
    """Open the picture before it is resized. What was done to it is added to ``notes``."""
    if source.problem:
        raise DataError(f"{source.name}: {source.problem}")
    return decode(source.name, source.content, notes, replace(bounds, enough=side**2))


def _fitted(name: str, image: Image.Image, preprocess: Preprocess, notes: list[str]) -> Picture:
    """Convert the picture to the model's size, channels and polarity."""
    if preprocess.channels == 1 and image.mode == "RGB":
        if _has_colour(image):
            notes.append("colour turned to grey")
        image = image.convert("L")
    size, doubt = (preprocess.width, preprocess.height), ""
    if preprocess.light_on_dark:
        image, doubt = _fit_light_on_dark(image, size, preprocess.centred_strokes, notes)
    elif image.size != size:
        image = _fit_middle(image, size, notes)
    if preprocess.channels == 3 and image.mode == "L":
        notes.append("grey repeated to three channels")
        image = image.convert("RGB")
    image_HWC = np.array(image).reshape(preprocess.image_shape)
    return Picture(name=name, image_HWC=image_HWC, notes=tuple(notes), doubt=doubt)


# Finding


def _standard_input(stdin: BinaryIO | None) -> PictureSource:
    if stdin is None:
        return PictureSource(name="-", problem="standard input holds no (further) picture")
    content = stdin.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        limit = f"more than {MAX_BYTES // 1024**2} MiB on standard input; name the file instead"
        return PictureSource(name="-", problem=limit)
    return PictureSource(name="-", content=content)


def _expand_word(word: str) -> Iterator[PictureSource]:
    if not word.strip():
        yield PictureSource(name=repr(word), problem="wanted a file name, got an empty word")
        return
    path = Path(word)
    try:
        if path.is_dir():
            paths, nothing = _below(path), f"no pictures in this folder; {WANTED}"
        elif os.path.lexists(path) or not any(sign in word for sign in "*?["):
            yield PictureSource(name=printable_path(word), content=path)
            return
        else:
            paths, nothing = _matching(path), f"no picture matches this pattern; {WANTED}"
    except (OSError, ValueError, NotImplementedError) as error:
        reason = getattr(error, "strerror", "") or error  # without repeating the word
        paths, nothing = [], f"cannot be opened: {reason}"
    if not paths:
        yield PictureSource(name=printable_path(word), problem=nothing)
    for each in paths:
        yield PictureSource(name=printable_path(each), content=Path(each))


def _below(folder: Path) -> list[str]:
    """Return every picture file in a folder and its subfolders, sorted folder by folder. They are
    texts, because there may be millions. Raises ``OSError`` if the folder cannot be opened."""

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        start = str(Path(parent, "-"))[:-1]  # nothing for the folder that one is in
        paths = (start + name for name in files if not name.startswith("."))
        found += [path for path in paths if _is_picture(path)]
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206 (millions of them)


def _matching(pattern: Path) -> list[str]:
    """Return every picture file that matches a pattern, sorted. Hidden files must be named."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base, rest = Path(*parts[:first]), parts[first:]
    if rest[-1] == "**":
        rest = (*rest, "*")
    if any(part.startswith(".") for part in rest):
        matches = [p for p in base.glob(str(Path(*rest))) if is_picture_file(str(p))]
    else:
        matches = [
            p
            for p in base.glob(str(Path(*rest)))
            if not any(part.startswith(".") for part in p.relative_to(base).parts) and _counts(p)
        ]
    return [str(p) for p in sorted({p for p in matches if not p.is_dir()})]


def _counts(path: Path) -> bool:
    return not path.name.startswith(".") and _is_picture(str(path))


def _is_picture(path: str) -> bool:
    return is_picture_file(path) or is_heic_name(path)  # reading it reports what is missing


def printable_path(name: str) -> str:
    """Return a path for display: � for bytes that are not text, and codes for control
    characters."""
    if name.isprintable():  # as nearly all are
        return name
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# Fitting


def _has_colour(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(band) for band in image.split())
    return not (np.array_equal(red, green) and np.array_equal(green, blue))


def _fit_light_on_dark(
    image: Image.Image, size: tuple[int, int], centred_strokes: bool, notes: list[str]
) -> tuple[Image.Image, str]:
    """Fit the picture for a light-on-dark model; return what may mislead the model too."""
    grey_HW = np.asarray(image.convert("L"))
    fitted: Fitted | None = None
    doubt = ""
    if centred_strokes and image.size != size:
        fitted = fit_stroke(grey_HW, size[1], size[0])
        if fitted is None:
            blank = is_blank(grey_HW)
            crop = "crop the picture to the digit, with some paper around it"
            notes.append(f"no stroke found: {'the picture is blank' if blank else crop}")
            doubt = "The picture is blank" if blank else f"No stroke was found: {crop}"
    if fitted.inverted if fitted else is_dark_on_light(grey_HW):
        notes.append("inverted (dark on light) to match the training images")
        image = ImageOps.invert(image)
    if fitted:
        if fitted.framed:
            notes.append("cropped to the paper inside its frame")
        if fitted.rules:
            notes.append(f"{fitted.rules} rule line{'s' * (fitted.rules > 1)} removed")
        notes.append("fitted and centred like MNIST")
        if fitted.thickened:
            notes.append("thin stroke thickened")
        if fitted.marks > 1:
            notes.append(f"{fitted.marks} marks side by side")
        return Image.fromarray(fitted.image_HW), _doubt(fitted)
    if image.size != size:
        image = _fit_whole(image, size, notes)
    return image, doubt


def _doubt(fitted: Fitted) -> str:
    if fitted.marks > 1:
        return f"The picture shows {fitted.marks} marks side by side: give one at a time"
    if fitted.rules:
        return "Lines on the paper cross the ink: write on plain paper"
    if fitted.framed:
        return "Paper was cut out of a frame: crop the picture to the paper"
    return ""


def _fit_whole(image: Image.Image, size: tuple[int, int], notes: list[str]) -> Image.Image:
    """Return the whole picture with its background made black and extended to the model's shape."""
    ground = ground_level(np.asarray(image.convert("L")))
    if 0 < ground < 255:
        levels = [max(0, round((v - ground) * 255 / (255 - ground))) for v in range(256)]
        image = image.point(levels * len(image.getbands()))
        notes.append("background set to black")
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # Averaging whole pixels restores a picture that was enlarged.
    method = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC
    whole = Image.new(image.mode, size)
    place = ((size[0] - width) // 2, (size[1] - height) // 2)
    whole.paste(image.resize((width, height), method), place)
    notes.append(f"resized from {image.width} × {image.height}")
    return whole


def _fit_middle(image: Image.Image, size: tuple[int, int], notes: list[str]) -> Image.Image:
    """Return the largest central part with the model's aspect ratio, resized with
    anti-aliasing."""
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side / scale)) for side in size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if (width, height) != image.size:
        notes.append(f"middle {width} × {height} of {image.width} × {image.height}")
    middle = image.crop((left, top, left + width, top + height))
    return middle.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
