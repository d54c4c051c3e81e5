"""Decode a picture file of any format to an upright, opaque picture in 8-bit grey or colour.

Damaged, foreign and hostile files raise ``DataError`` and nothing else. A truncated picture is an
error, never a picture with a black rest. Axes: H height, W width.
"""

import io
import logging
import math
import stat
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from firstlight.data.formats import START, formats_for, what_else
from firstlight.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""The formats whose frames are counted, by Pillow's names. HEIC marks its main picture."""
MAX_PIXELS = 64 * 1024**2
"""Width × height of the largest picture that is read, unless the caller allows less."""
MOST_FRAMES = 1000
"""Pictures in one file are counted up to this number. Only the first is used."""
BYTES_PER_PIXEL = {
    "PNG": 6,
    "JPEG": 9,
    "MPO": 9,
    "WEBP": 17,
    "BMP": 6,
    "GIF": 6,
    "TIFF": 12,
    "PPM": 12,
    "AVIF": 24,
}
"""Memory for each pixel of a decoded picture and for its decoder."""
MORE_BYTES_PER_PIXEL = 28
"""Memory for each pixel of what is rotated, scaled or drawn on white; counted for the reduced
picture, if the picture is reduced first."""
GREY = ("1", "L", "LA", "La")
TILE = 1024
"""Side in pixels of the tiles in which a large picture is reduced."""

FEW_LEVELS = "16 bits, few of them used"
"""How a note about a picture begins."""
_FEW_BITS = 14  # at most a quarter of the levels

_ADVICE = "save it as PNG or JPEG first"
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that undoes each EXIF orientation."""


class Encoded(Protocol):
    """A picture file inside another file."""

    def read_bytes(self) -> bytes:
        """Return the whole file. Raises ``DataError`` if it cannot be read."""


def _unbounded(_: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits for a picture."""

    pixels: int = MAX_PIXELS
    """Width × height; a larger picture is refused by its header."""
    enough: int | None = None
    """Width × height beyond which no detail is needed. A picture with at least four times as many
    pixels is reduced by a whole factor, and is never in memory whole more than once or twice."""
    memory: Callable[[int], AbstractContextManager[None]] = _unbounded
    """A context that is entered with the bytes that decoding takes, before it begins."""


ANY = Bounds()


def decode(
    name: str,
    content: Path | bytes | Encoded | Image.Image,
    notes: list[str],
    bounds: Bounds = ANY,
) -> Image.Image:
    """Return the picture upright, opaque and in mode L or RGB. What was done to it is added to
    ``notes``.

    ``content`` is a file, its bytes, a file inside another, or a picture opened with Pillow. A
    picture beyond the bounds is refused by its header, before any pixel is decoded.

    Raises ``DataError``, whose message begins with ``name``, if there is no whole picture.
    """
    if isinstance(content, Image.Image):
        with _pillow_silenced:
            return _finished(name, content, b"", notes, bounds)
    with open_picture(name, content) as stream, _pillow_silenced:
        try:
            start = stream.read(START)
            stream.seek(0)
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
        if not start:
            raise DataError(f"{name}: the file is empty (0 bytes), not a picture")
        return _finished(name, stream, start, notes, bounds)


def _finished(
    name: str,
    content: BinaryIO | Image.Image,
    start: bytes,
    notes: list[str],
    bounds: Bounds,
) -> Image.Image:
    """Do ``decode`` for a picture, or for an open file that begins with ``start``."""
    try:
        with (
            nullcontext(content)
            if isinstance(content, Image.Image)
            else Image.open(content, formats=formats_for(start))
        ) as image:
            _check_size(name, image.size, bounds.pixels)
            size, factor = image.size, _factor(image.size, bounds.enough)
            if factor > 1 and image is not content:
                # A JPEG can be decoded to an eighth, a quarter or half of its sides for free.
                image.draft(image.mode, (size[0] // factor, size[1] // factor))
            with bounds.memory(_memory(image.format, size, factor)):
                image.load()
                _check_size(name, image.size, bounds.pixels)  # a HEIC header may state another
                _count_frames(image, notes)
                eight = _smaller(name, image, bounds.enough, notes)
                if eight.size != size:
                    before, after = (f"{width} × {height}" for width, height in (size, eight.size))
                    notes.append(f"reduced from {before} to {after}")
                return _opaque(_upright(image, eight), notes)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: {what_else(start)}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: {_too_large(bounds.pixels)}") from error
    # Pillow's decoders raise two dozen kinds of exception on damaged bytes.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{name}: the picture is damaged or truncated ({reason}). Get a new copy"
        ) from error


def _factor(size: tuple[int, int], enough: int | None) -> int:
    """Return the factor by which to divide a picture's sides so that enough pixels are left."""
    return 1 if enough is None else max(1, math.isqrt(size[0] * size[1] // enough))


def _memory(kind: str | None, size: tuple[int, int], factor: int) -> int:
    """Return the bytes that decoding takes at most."""
    pixels, most = size[0] * size[1], max(BYTES_PER_PIXEL.values())
    whole = pixels * BYTES_PER_PIXEL.get(kind or "", most)
    return whole + pixels * MORE_BYTES_PER_PIXEL // (factor * factor)


def _smaller(name: str, image: Image.Image, enough: int | None, notes: list[str]) -> Image.Image:
    """Return the picture in 8 bits, each pixel the mean of factor × factor pixels; transparent ones
    do not count. It works in tiles, so it needs no second picture of the whole size."""
    factor = _factor(image.size, enough)
    scale = _scale(name, image, notes)
    if factor == 1:
        return _eight_bits(image, scale)
    across, down = (min(factor, side) for side in image.size)
    wide, high = (max(1, TILE // each) * each for each in (across, down))
    small, mode = Image.new("L", (1, 1)), ""
    for top in range(0, image.height, high):
        for left in range(0, image.width, wide):
            right, bottom = min(left + wide, image.width), min(top + high, image.height)
            tile = _eight_bits(image.crop((left, top, right, bottom)), scale)
            clear, grey = tile.has_transparency_data, tile.mode in GREY
            plain = "L" if grey else "RGB"
            tile = tile.convert("RGBA").convert("RGBa") if clear else tile.convert(plain)
            if not mode:
                small = Image.new(tile.mode, (-(-image.width // across), -(-image.height // down)))
                mode = plain + "A" if clear else plain
            small.paste(tile.reduce((across, down)), (left // across, top // down))
    return small.convert("RGBA").convert(mode) if small.mode == "RGBa" else small


class _PillowSilenced:
    """Silences Pillow's warnings and logs about odd metadata. What matters to the user is raised or
    noted.

    Several threads may be inside at once. Python's warning filters belong to the process, so the
    first one in saves them and the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._warnings: warnings.catch_warnings[None] | None = None
        # A logger without a handler would print to standard error.
        logging.getLogger("PIL").addHandler(logging.NullHandler())

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._warnings is not None:
                self._warnings.__exit__(None, None, None)


_pillow_silenced = _PillowSilenced()


def open_picture(name: str, content: Path | bytes | Encoded) -> AbstractContextManager[BinaryIO]:
    """Open the picture's bytes as a stream. Raises ``DataError`` if that is impossible. Pipes and
    devices are refused, because reading them might wait forever."""
    if isinstance(content, bytes):
        return nullcontext(io.BytesIO(content))
    if not isinstance(content, Path):
        return nullcontext(io.BytesIO(content.read_bytes()))
    try:
        kind = content.stat().st_mode
        if stat.S_ISDIR(kind):
            raise DataError(f"{name}: wanted a picture, got a folder")
        if not stat.S_ISREG(kind):
            raise DataError(f"{name}: wanted a picture, got something that is not a regular file")
        return content.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{name}: no permission to read this file") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: cannot be opened ({getattr(error, 'strerror', '') or error})"
        ) from error


def _too_large(most_pixels: int) -> str:
    return f"more than {most_pixels / 1e6:.0f} megapixels; make the picture smaller first"


def _check_size(name: str, size: tuple[int, int], most_pixels: int) -> None:
    width, height = size
    if width * height > most_pixels:
        raise DataError(f"{name}: {width} × {height} pixels, {_too_large(most_pixels)}")
    if width < 1 or height < 1:
        raise DataError(f"{name}: the picture is empty: {width} × {height} pixels")


def _upright(image: Image.Image, same: Image.Image) -> Image.Image:
    """Rotate the picture as its file says. A PNG with nothing but pixels is returned as ``same``
    is."""
    if image.format == "PNG" and not image.info:
        return same
    turned = _TURNED.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return same if turned is None else same.transpose(turned)


def _count_frames(image: Image.Image, notes: list[str]) -> None:
    """Add a note if the file holds more pictures than the one used."""
    frames = _frames(image)
    if frames > 1:
        notes.append(f"first frame of {frames}" + (" or more" if frames == MOST_FRAMES else ""))
        image.seek(0)
        image.load()


def _frames(image: Image.Image) -> int:
    """Count the pictures in a file, up to ``MOST_FRAMES``."""
    if image.format == "TIFF":
        # Pillow would read all of them: a second for each megabyte of a hostile file.
        try:
            for number in range(1, MOST_FRAMES):
                image.seek(number)
        except EOFError:
            return number
        return MOST_FRAMES
    # A camera's JPEG may contain previews of itself (MPO), which are not frames.
    frames: int = getattr(image, "n_frames", 1) if image.format in FORMATS else 1
    return min(frames, MOST_FRAMES)


class _Scale(NamedTuple):
    """The scale that maps a picture's levels to 0..255: (level - least) × by."""

    least: float
    by: float


def _scale(name: str, image: Image.Image, notes: list[str]) -> _Scale | None:
    """Return the scale for modes with more than 8 bits per pixel; None for the others.

    16 bits: value / 257. 32-bit integers: unchanged up to 255, / 257 up to 65535. Floats: × 255 up
    to 1, unchanged up to 255. Other ranges are stretched from the least to the greatest value.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return None
    values_HW = np.asarray(image)
    least, greatest = float(values_HW.min()), float(values_HW.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise DataError(f"{name}: some pixels are infinite or not a number; {_ADVICE}")
    # Pillow has already scaled a PGM's maximum level to 65535.
    deep = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")
    if not deep and (least < 0 or greatest > (255 if image.mode == "F" else 65535)):
        notes.append(f"levels {least:g} to {greatest:g} scaled to 0 to 255")
        return _Scale(least, 255 / (greatest - least) if greatest > least else 0.0)
    if image.mode == "F":
        white = 1 if greatest <= 1 else 255
        notes.append(f"float levels read as 0 to {white}")
        return _Scale(0.0, 255 / white)
    sixteen = deep or greatest > 255
    bits = int(greatest).bit_length()
    if sixteen and 0 < bits <= _FEW_BITS:
        notes.append(
            f"{FEW_LEVELS} (up to {2**bits - 1} of 65535), so it is dark. Save it with its full "
            "range"
        )
    elif image.mode == "I" and not deep:
        notes.append(f"32-bit levels read as 0 to {65535 if sixteen else 255}")
    return _Scale(0.0, 1 / 257 if sixteen else 1.0)


def _eight_bits(image: Image.Image, scale: _Scale | None) -> Image.Image:
    """Convert a picture with more than 8 bits per pixel to mode L or LA. Return others
    unchanged."""
    if scale is None:
        return image
    values_HW = np.asarray(image).astype(np.float64)
    eight_HW = np.rint((values_HW - scale.least) * scale.by).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int) and image.mode.startswith("I;16"):
        alpha_HW = np.where(values_HW == clear, 0, 255).astype(np.uint8)
        return Image.merge("LA", (Image.fromarray(eight_HW), Image.fromarray(alpha_HW)))
    return Image.fromarray(eight_HW)


def _opaque(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert to mode L or RGB, with transparent parts drawn on white."""
    mode = "L" if image.mode in GREY else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    clear = image.convert("RGBA")
    lowest, _ = clear.getchannel("A").getextrema()
    if lowest == 255:
        return clear.convert(mode)
    over = _over("white", clear)
    if _is_flat(over) and not _is_flat(on_black := _over("black", clear)):
        over = on_black
        notes.append("transparent parts drawn on black, because on white nothing was visible")
    else:
        notes.append("transparent parts drawn on white")
    return over.convert(mode)


def _over(ground: str, clear: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", clear.size, ground), clear)


def _is_flat(image: Image.Image) -> bool:
    pixels_HWC = np.asarray(image)
    return bool((pixels_HWC == pixels_HWC[0, 0]).all())
