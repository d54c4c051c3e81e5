"""The picture formats that are read, and how a file is recognized by its first bytes.

The content decides, not the file name. HEIC needs pillow-heif, the extra ``heic``.
"""

import os
import re
import stat
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pbm", ".pnm"),
)
"""A file with such an extension counts as a picture. For others the first bytes decide."""
START = 32
"""How many bytes are enough to recognize a file."""
WANTED = "PNG, JPEG, WebP, BMP, GIF, TIFF, PGM, PPM and AVIF pictures are read"
_PLAIN = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_ADVICE = "save it as PNG or JPEG first"
_HEIC_ADVICE = "install firstlight[heic] (pillow-heif), or save it as JPEG"


class _Kind(NamedTuple):
    what: str
    start: re.Pattern[bytes]


# A bitmap has a header of a known length; "BM" alone could begin a text.
_BITMAP = rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
_KINDS = tuple(
    _Kind(what, re.compile(start, re.DOTALL))
    for what, start in (
        ("PNG", rb"\x89PNG"),
        ("JPEG", rb"\xff\xd8\xff"),
        ("GIF", rb"GIF8"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]"),
        ("WebP", rb"RIFF.{4}WEBP"),
        ("PNM", rb"P[1-6]\s+[#\d]"),
        ("BMP", _BITMAP),
    )
)
_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "TIFF": ".tif", "WebP": ".webp"}
_ENDINGS |= {"PNM": ".ppm", "BMP": ".bmp"}
_HEIC = re.compile(rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_AVIF = re.compile(rb".{4}ftypavi[fs]", re.DOTALL)
_FOREIGN = tuple(
    _Kind(what, re.compile(start, re.DOTALL))
    for what, start in (
        ("a PDF document", rb"%PDF"),
        ("an SVG drawing", rb"\s*<svg"),
        ("a JPEG 2000 picture", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("a JPEG XL picture", rb"\xff\x0a|\0\0\0\x0cJXL "),
        ("a Photoshop document", rb"8BPS"),
        ("a video", rb".{4}ftyp(isom|mp4|M4V|qt  )"),
        ("a ZIP archive", rb"PK\x03\x04"),
        ("a web page", rb"\s*<(!doctype html|!DOCTYPE html|html)"),
    )
)


def formats_for(start: bytes) -> tuple[str, ...]:
    """Return Pillow's names of the formats to try for a file with this start."""
    if _HEIC.match(start) and _reads_heic():
        _enable_heic()
        return ("HEIF",)
    return ("AVIF",) if _AVIF.match(start) and _reads_avif() else _PLAIN


def is_picture(start: bytes) -> bool:
    """Return whether a file with this start has a format that is read here."""
    if _HEIC.match(start):
        return _reads_heic()
    if _AVIF.match(start):
        return _reads_avif()
    return any(kind.start.match(start) for kind in _KINDS)


def ending_of(start: bytes) -> str:
    """Return the usual extension of a picture file with this start, including the dot."""
    if _HEIC.match(start):
        return ".heic"
    if _AVIF.match(start):
        return ".avif"
    kinds = (kind.what for kind in _KINDS if kind.start.match(start))
    return _ENDINGS.get(next(kinds, ""), ".jpg")


def is_picture_file(path: str) -> bool:
    """Return whether a file counts as a picture, by its extension or its first bytes."""
    if os.path.splitext(path)[1].lower() in SUFFIXES:  # noqa: PTH122 (60,000 of them)
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (a pipe would wait for ever)
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            return is_picture(file.read(START))
    except (OSError, ValueError):
        return False


def what_else(start: bytes) -> str:
    """Say what a file is that cannot be read as a picture, and what to do."""
    if _HEIC.match(start):
        return f"this is an HEIC picture: {_HEIC_ADVICE}"
    if _AVIF.match(start):
        return f"this is an AVIF picture, which the installed Pillow cannot read: {_ADVICE}"
    for kind in _KINDS:
        if kind.start.match(start):
            return f"starts like a {kind.what} picture, but is damaged or truncated. Get a new copy"
    for kind in _FOREIGN:
        if kind.start.match(start):
            return f"this is {kind.what}; {WANTED}: {_ADVICE}"
    return f"not a picture; {WANTED}"


def is_heic_name(name: str) -> bool:
    """Return whether a file name is that of an HEIC picture, as phones make them."""
    return name.lower().endswith((".heic", ".heif"))


HEIC_ADVICE = f"for HEIC {_HEIC_ADVICE}"


@cache
def _reads_heic() -> bool:
    return find_spec("pillow_heif") is not None


@cache
def _enable_heic() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()


@cache
def _reads_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))
