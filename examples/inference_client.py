"""Classify pictures by a model that ``firstlight serve``, Triton or KServe answers for.

    pip install 'tritonclient[http]' pillow
    python inference_client.py HOST:PORT MODEL LABELS PICTURE...

It needs nothing of firstlight. LABELS is ``labels.txt`` of ``firstlight export --format triton``.
The most probable class and its probability are printed for each picture. What goes wrong is said in
one line, and the exit code is 1.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException


def pixels(picture: Image.Image, shape: list[int]) -> np.ndarray:
    """uint8 1×H×W×C as a model's ``shape`` of N×H×W×C says; -1 is any number.

    Triton's model takes any size and makes it the model's own; ``firstlight serve`` wants that.
    """
    _, height, width, channels = shape
    picture = ImageOps.exif_transpose(picture)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if height > 0:
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(1, picture.height, picture.width, -1)


def opened(path: str) -> Image.Image:
    """A picture, decoded."""
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        sys.exit(f"{path}: cannot be read as a picture: {error}")
    return picture


def main(address: str, model: str, labels: str, *paths: str) -> None:
    try:
        names = Path(labels).read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        sys.exit(f"{labels}: cannot be read: {error}")
    if "//" in address or not address.rpartition(":")[2].isdigit():
        sys.exit(f"wanted HOST:PORT of a server, got {address}")
    try:
        client = InferenceServerClient(address)
        (taken,) = client.get_model_metadata(model)["inputs"]
        for path in paths:
            image = pixels(opened(path), taken["shape"])
            given = InferInput(taken["name"], image.shape, taken["datatype"])
            given.set_data_from_numpy(image)
            (probabilities,) = client.infer(model, [given]).as_numpy("probabilities")
            best = probabilities.argmax()
            print(path, names[best], f"{probabilities[best]:.6f}")
    except InferenceServerException as error:
        sys.exit(f"{address}, {model}: {error.message()}")
    except OSError as error:
        sys.exit(f"{address}: no answer: {error}")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit("give HOST:PORT MODEL LABELS PICTURE...")
    main(*sys.argv[1:])
