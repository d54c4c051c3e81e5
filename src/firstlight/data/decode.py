"""A picture file of any kind as an upright, opaque picture of 8-bit grey or colour.

Nothing but ``DataError`` comes out of damaged, foreign or hostile files, and a picture that is cut
short is an error, never a picture with a black rest. Axes: H height, W width.
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
"""Pillow's names of those whose frames are counted; in HEIC one picture is the main one."""
MAX_PIXELS = 64 * 1024**2
"""Width × height of the largest picture that is read, unless a caller allows less."""
MOST_FRAMES = 1000
"""As many pictures of one file are counted; only the first is used."""
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
"""Memory for each pixel of a decoded picture, and of what decodes it."""
MORE_BYTES_PER_PIXEL = 28
"""Memory for each pixel of what is turned, scaled or put over white: of a smaller picture, if that
was made first."""
GREY = ("1", "L", "LA", "La")
TILE = 1024
"""Pixels a side of the parts in which a large picture is made smaller."""

FEW_LEVELS = "16 bits, few of them used"
"""A note on a picture begins so."""
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
"""What undoes each orientation of EXIF."""


class Encoded(Protocol):
    """A picture's file that lies within another one."""

    def read_bytes(self) -> bytes:
        """All of it. Raises ``DataError`` where it cannot be read."""


def _unbounded(_: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a picture may cost."""

    pixels: int = MAX_PIXELS
    """Width × height; a larger one is refused by its header."""
    enough: int | None = None
    """Width × height beyond which no detail is wanted. A picture of at least four times as many is
    made smaller by a whole factor, and never stands in memory as a whole more than once or twice.
    """
    memory: Callable[[int], AbstractContextManager[None]] = _unbounded
    """Entered with the bytes that decoding takes, before it begins."""


ANY = Bounds()


def decode(
    name: str,
    content: Path | bytes | Encoded | Image.Image,
    notes: list[str],
    bounds: Bounds = ANY,
) -> Image.Image:
    """The picture upright, opaque and in mode L or RGB; ``notes`` grows by what was done to it.

    ``content`` is a file, a file's bytes, one within another, or a picture that Pillow has opened.
    One beyond the bounds is refused by its header, before any pixel is decoded.

    Raises ``DataError``, which begins with ``name``, when there is no whole picture.
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
    """``decode``, of an open file that begins with ``start``, or of a picture."""
    try:
        with (
            nullcontext(content)
            if isinstance(content, Image.Image)
            else Image.open(content, formats=formats_for(start))
        ) as image:
            _check_size(name, image.size, bounds.pixels)
            size, factor = image.size, _factor(image.size, bounds.enough)
            if factor > 1 and image is not content:
                # A JPEG is decoded to an eighth, a quarter or half of its sides at no more cost.
                image.draft(image.mode, (size[0] // factor, size[1] // factor))
            with bounds.memory(_memory(image.format, size, factor)):
                image.load()
                _check_size(name, image.size, bounds.pixels)  # of HEIC the header may say another
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
    """By how much a picture's sides may be divided, so that at least so many pixels are left."""
    return 1 if enough is None else max(1, math.isqrt(size[0] * size[1] // enough))


def _memory(kind: str | None, size: tuple[int, int], factor: int) -> int:
    """Bytes that decoding takes at most."""
    pixels, most = size[0] * size[1], max(BYTES_PER_PIXEL.values())
    whole = pixels * BYTES_PER_PIXEL.get(kind or "", most)
    return whole + pixels * MORE_BYTES_PER_PIXEL // (factor * factor)


def _smaller(name: str, image: Image.Image, enough: int | None, notes: list[str]) -> Image.Image:
    """The picture in 8 bits, each pixel the mean of factor × factor; what is transparent counts
    for nothing in it. Made of tiles, so that nothing of its whole size is needed besides it."""
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
    """Pillow warns of odd metadata and logs it; what matters to the user is raised or noted.

    Several threads may be inside at once: Python's warning filters are the process's, so the first
    one in sets them aside and the last one out puts them back.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._warnings: warnings.catch_warnings[None] | None = None
        # A logger without any handler would print on standard error.
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
    """The picture's bytes as a stream. Raises ``DataError`` when there are none to be had: from a
    pipe or a device nothing is read, as that might wait for ever."""
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
    """The same picture turned as the file says. A PNG that holds pixels alone says nothing."""
    if image.format == "PNG" and not image.info:
        return same
    turned = _TURNED.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return same if turned is None else same.transpose(turned)


def _count_frames(image: Image.Image, notes: list[str]) -> None:
    """A note when the file holds more pictures than the one used."""
    frames = _frames(image)
    if frames > 1:
        notes.append(f"first frame of {frames}" + (" or more" if frames == MOST_FRAMES else ""))
        image.seek(0)
        image.load()


def _frames(image: Image.Image) -> int:
    """How many pictures a file holds, as far as ``MOST_FRAMES``."""
    if image.format == "TIFF":
        # Pillow would walk through all of them, a second for each megabyte of a hostile file.
        try:
            for number in range(1, MOST_FRAMES):
                image.seek(number)
        except EOFError:
            return number
        return MOST_FRAMES
    # A camera's JPEG may carry previews of itself (MPO): those are not frames.
    frames: int = getattr(image, "n_frames", 1) if image.format in FORMATS else 1
    return min(frames, MOST_FRAMES)


class _Scale(NamedTuple):
    """What brings a picture's levels to 0..255: (level - least) × by."""

    least: float
    by: float


def _scale(name: str, image: Image.Image, notes: list[str]) -> _Scale | None:
    """For modes of more than 8 bits a pixel; None for the others.

    16 bits: value / 257. 32-bit integers: as they are up to 255, / 257 up to 65535. Floats: × 255
    up to 1, as they are up to 255. Beyond that, and below 0, stretched from least to greatest.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return None
    values_HW = np.asarray(image)
    least, greatest = float(values_HW.min()), float(values_HW.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise DataError(f"{name}: some pixels are infinite or not a number; {_ADVICE}")
    # Pillow has brought a PGM's own greatest level to 65535.
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
    """A picture of more than 8 bits a pixel in mode L, or LA; another one as it is."""
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
    """Mode L or RGB, what is transparent put over white."""
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
