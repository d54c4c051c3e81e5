"""Predict pictures without labels."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from firstlight.data.arrays import CHANNELS, as_array
from firstlight.data.asked import pictures_asked
from firstlight.data.levels import Range, levels_to_ask, stated
from firstlight.data.pictures import Picture, PictureSource, prepare
from firstlight.errors import DataError
from firstlight.evaluate.prediction import Prediction
from firstlight.model import Model

if TYPE_CHECKING:
    from PIL import Image


def predict_array(model: Model, images: npt.NDArray[Any], given: Any = None) -> list[Prediction]:
    """Return one prediction for each image, N×H×W×C, or N×H×W if the model is grey.

    Pixels are 0 to 255, floats in [0, 1], or booleans; for other values ``given`` has black and
    white. Raises ``ValueError`` for another shape, and ``DataError`` if the range is unclear.
    """
    came = images.shape
    if images.ndim == 3 and model.preprocess.channels == 1:
        images = images[..., None]
    height, width, channels = model.preprocess.image_shape
    if images.ndim != 4 or images.shape[1:] != (height, width, channels):
        raise ValueError(
            f"wanted uint8 images N×{height}×{width}×{channels}, got {images.dtype} of shape "
            f"{came}. Pass one image as images[None]; picture files of any size can be given by "
            "path"
        )
    if len(images) == 0:
        return []
    (levels,), notes = levels_to_ask([images], len(images), stated(given, "images"))
    pictures = [
        Picture(name=str(at), image_HWC=image, notes=notes) for at, image in enumerate(levels)
    ]
    return _answers(model, pictures)


def predict_given(model: Model, images: Sequence[Any], given: Any = None) -> list[Prediction]:
    """Return one prediction for each picture: paths, Pillow images, or arrays H×W×C or H×W.

    ``given`` is the range of the arrays, the same for all of a dtype. Raises ``ValueError`` for
    anything else, and ``DataError`` if the range is unclear.
    """
    from PIL import Image

    limits = stated(given, "images")
    opened, notes = _opened(images, limits)
    sources, told = list[PictureSource](), dict[int, tuple[str, ...]]()
    for at, one in enumerate(images):
        if isinstance(one, str | Path):
            sources += pictures_asked([str(one)], given=limits)
        elif at in opened or isinstance(one, Image.Image):
            told[len(sources)] = notes.get(at, ())
            sources.append(PictureSource(name=str(at), content=opened.get(at, one)))
        else:
            raise ValueError(
                f"wanted a uint8 array, paths or Pillow images, got {type(one).__name__}"
            )
    answers = predict_pictures(model, sources)
    return [
        replace(answer, notes=(*told.get(at, ()), *answer.notes))
        for at, answer in enumerate(answers)
    ]


def _opened(
    images: Sequence[Any], given: Range | None
) -> "tuple[dict[int, Image.Image], dict[int, tuple[str, ...]]]":
    """Return the arrays, by position, as Pillow images; and what was done to each."""
    from PIL import Image

    by_dtype: dict[str, dict[int, npt.NDArray[Any]]] = {}
    for at, one in enumerate(images):
        if hasattr(one, "__array__") and not isinstance(one, Image.Image):
            array = as_array(one)
            if array.ndim not in (2, 3) or not array.size or array.shape[2:] not in CHANNELS:
                raise ValueError(f"wanted images H×W or H×W×C, got [{at}] of shape {array.shape}")
            by_dtype.setdefault(str(array.dtype), {})[at] = array
    opened, notes = dict[int, Image.Image](), dict[int, tuple[str, ...]]()
    for arrays in by_dtype.values():
        levels, told = levels_to_ask(list(arrays.values()), len(arrays), given)
        for at, one in zip(arrays, levels, strict=True):
            opened[at] = Image.fromarray(one[..., 0] if one.shape[2:] == (1,) else one)
            notes[at] = told
    return opened, notes


def predict_files(
    model: Model,
    sources: Sequence[str],
    stdin: BinaryIO | None = None,
    given: Range | None = None,
) -> list[Prediction]:
    """Return one prediction for each picture that the sources name (files, folders, patterns,
    ``-``).

    For a picture that cannot be read, the prediction has its ``error`` set. ``given`` is the range
    of the pixels of a CSV.
    """
    return predict_pictures(model, sources_of(sources, stdin, given))


def sources_of(
    words: Sequence[str], stdin: BinaryIO | None = None, given: Range | None = None, key: str = ""
) -> list[PictureSource]:
    """Return the pictures that ``predict_files`` predicts; ``key`` is as for ``pictures_asked``."""
    return list(pictures_asked(words, stdin or getattr(sys.stdin, "buffer", None), given, key))


def predict_pictures(model: Model, everything: Sequence[PictureSource]) -> list[Prediction]:
    """Return one prediction for each picture; those that cannot be read have their ``error``
    set."""
    failed: dict[int, Prediction] = {}
    pictures = []
    for place, source in enumerate(everything):
        try:
            pictures.append(prepare(source, model.preprocess))
        except DataError as error:
            failed[place] = Prediction(name=source.name, probabilities={}, error=str(error))
    rest = iter(_answers(model, pictures) if pictures else [])
    return [failed[i] if i in failed else next(rest) for i in range(len(everything))]


def _answers(model: Model, pictures: Sequence[Picture]) -> list[Prediction]:
    probabilities_NK = model.probabilities(np.stack([p.image_HWC for p in pictures]))
    return [
        model.task.prediction(picture, row, model.class_names, model.calibration)
        for picture, row in zip(pictures, probabilities_NK, strict=True)
    ]
