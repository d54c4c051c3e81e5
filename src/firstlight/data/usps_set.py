"""USPS as LIBSVM publishes it: a bzip2 file of text for each part, one image per line.

A line is the label, 1 to 10 for the digits 0 to 9, and ``INDEX:VALUE`` for each pixel. Indices
count from 1, row by row; a pixel that is left out is 0. Values are from -1, the paper, to 1.
"""

import bz2
from pathlib import Path

import numpy as np

from firstlight.data.entry import Arrays, Entry
from firstlight.data.exact import from_zero
from firstlight.errors import DataError

LONGEST = 24
"""The most bytes of an index and its value."""


def read_usps(path: Path, entry: Entry, count: int) -> Arrays:
    """Read images N×H×W×C and labels N of one part. Raises ``DataError``."""
    pixels = int(np.prod(entry.image_shape))
    lines = _unpacked(path, count * (pixels + 1) * LONGEST).splitlines()
    if len(lines) != count:
        raise DataError(f"{path}: wanted {count:,} images, one per line, got {len(lines):,}")
    levels_NP = np.zeros((count, pixels))
    labels_N = np.zeros(count, dtype=np.int64)
    for at, line in enumerate(lines):
        try:
            label, *numbers = line.replace(b":", b" ").split()
            labels_N[at] = int(label)
            places = np.array(numbers[::2], dtype=np.int64)
            values = np.array(numbers[1::2], dtype=np.float64)
            in_order = bool((np.diff(places, prepend=0, append=pixels + 1) > 0).all())
            if not in_order or not bool((np.abs(values) <= 1).all()):
                raise ValueError
            levels_NP[at, places - 1] = values
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path}: line {at + 1}: wanted a label and INDEX:VALUE with indices that rise "
                f"from 1 to {pixels} and values from -1 to 1, got {line[:40].decode('latin-1')!r}"
            ) from error
    images_NHWC = np.rint((levels_NP + 1) / 2 * 255).astype(np.uint8)
    classes = range(1, len(entry.class_names) + 1)
    return images_NHWC.reshape(count, *entry.image_shape), from_zero(labels_N, classes, path)


def _unpacked(path: Path, most: int) -> bytes:
    """Return the text of a file, at most ``most`` bytes. Raises ``DataError``."""
    try:
        with bz2.open(path) as packed:
            text = packed.read(most + 1)
    except EOFError as error:
        raise DataError(f"{path}: cut short. Fetch it again") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if len(text) > most:
        raise DataError(f"{path}: holds more than {most:,} bytes of text")
    return text
