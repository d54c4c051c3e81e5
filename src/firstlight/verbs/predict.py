"""Answer for pictures that nobody has labelled."""

import sys
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from firstlight.data.pictures import PictureSource, expand, prepare
from firstlight.errors import DataError
from firstlight.evaluate.prediction import Prediction, prediction
from firstlight.verbs.model import Model


def predict_array(model: Model, images: npt.NDArray[np.uint8]) -> list[Prediction]:
    """One prediction for each uint8 image, N×H×W×C, or N×H×W where the model is grey.

    Raises ``ValueError`` for another dtype or shape.
    """
    came = images.shape
    if images.ndim == 3 and model.preprocess.channels == 1:
        images = images[..., None]
    height, width, channels = model.preprocess.image_shape
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[1:] != (height, width, channels)
    ):
        raise ValueError(
            f"wanted uint8 images N×{height}×{width}×{channels}, got {images.dtype} of shape "
            f"{came}; one image is images[None], and picture files of any size are taken by path"
        )
    if len(images) == 0:
        return []
    return _answers(model, [str(i) for i in range(len(images))], images, [()] * len(images))


def predict_files(
    model: Model, sources: Sequence[str], stdin: BinaryIO | None = None
) -> list[Prediction]:
    """One prediction for each picture that the sources (files, folders, patterns, ``-``) name.

    A picture that cannot be read becomes a prediction with its ``error`` set, in its place.
    """
    everything = expand(sources, stdin or getattr(sys.stdin, "buffer", None))
    return predict_pictures(model, everything)


def predict_pictures(model: Model, everything: Sequence[PictureSource]) -> list[Prediction]:
    """One prediction for each picture, those that cannot be read with their ``error`` set."""
    failed: dict[int, Prediction] = {}
    pictures = []
    for place, source in enumerate(everything):
        try:
            pictures.append(prepare(source, model.preprocess))
        except DataError as error:
            failed[place] = Prediction(name=source.name, probabilities={}, error=str(error))
    answered: list[Prediction] = []
    if pictures:
        stack_NHWC = np.stack([p.image_HWC for p in pictures])
        answered = _answers(
            model, [p.name for p in pictures], stack_NHWC, [p.notes for p in pictures]
        )
    rest = iter(answered)
    return [failed[i] if i in failed else next(rest) for i in range(len(everything))]


def _answers(
    model: Model,
    names: Sequence[str],
    images_NHWC: npt.NDArray[np.uint8],
    notes: Sequence[tuple[str, ...]],
) -> list[Prediction]:
    probabilities_NK = model.probabilities(images_NHWC)
    return [
        prediction(
            name, row, model.class_names, notes=note, image_HWC=image, calibration=model.calibration
        )
        for name, image, note, row in zip(names, images_NHWC, notes, probabilities_NK, strict=True)
    ]
