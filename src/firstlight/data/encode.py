"""Images as Pillow pictures and as PNG files. Axes: H height, W width, C channels."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def picture_of(image_HWC: npt.NDArray[np.uint8]) -> Image.Image:
    """Return a uint8 image H×W×1 or H×W×3 as a picture."""
    return Image.fromarray(image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC)


def png(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    """Return a uint8 image H×W×1 or H×W×3 as a PNG file."""
    stream = io.BytesIO()
    picture_of(image_HWC).save(stream, "PNG")
    return stream.getvalue()
