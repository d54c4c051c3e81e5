"""Explain one answer: a sheet under ``figures/``, and a page with every layer.

Axes: N images, H height, W width, C channels.
"""

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.levels import BYTES, levels_to_ask
from firstlight.data.pictures import expand, prepare
from firstlight.devices import repeatable
from firstlight.errors import DataError, UserError
from firstlight.evaluate.features import last_dense
from firstlight.evaluate.predict import LARGE, pixels_seen
from firstlight.explain.attention import class_attention
from firstlight.explain.attribution import grad_cam, integrated_gradients, occlusion
from firstlight.explain.layers import layer_maps
from firstlight.explain.neighbours import Neighbour, nearest
from firstlight.model import RunModel
from firstlight.models.folded import folded
from firstlight.models.network import NetworkModule
from firstlight.pixels import Preprocess
from firstlight.report.explanation import overview
from firstlight.report.page import render
from firstlight.threads import usable_threads
from firstlight.training.extraction import VIEWS, Float32Array, extract
from firstlight.training.memory import kept_memory
from firstlight.verbs.explanation import Explanation, page, panels
from firstlight.verbs.picture_features import extractor_of, picture_features
from firstlight.verbs.predict import predict_array
from firstlight.verbs.run_data import Given, data_or_reason

UInt8Array = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
# Number of large training images to compare by the original network's features.
CANDIDATES = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Subject:
    """The image to explain."""

    name: str
    image_HWC: UInt8Array
    notes: tuple[str, ...] = ()
    truth: str | None = None


def explain(
    model: RunModel,
    image: UInt8Array | str | Path,
    *,
    class_name: str | None = None,
    data_dir: Path | None = None,
    data: Given = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain a run's answer for one image, and write ``figures/explain-NAME.png`` and
    ``explain-NAME.html`` into its folder.

    ``image`` is a picture as ``predict`` takes it, ``test:N`` for a test image of the run, or a
    uint8 array H×W×C (H×W for grey) of the model's size. ``class_name`` is the class to explain
    instead of the most probable one. Without the training data the nearest images are left out,
    and ``missing`` says why. ``progress`` is told how many of the training images were compared.
    Raises ``UserError`` for an unknown class or more than one picture, ``DataError`` for a picture
    that cannot be read, ``ValueError`` for an array of another shape or dtype.
    """
    if class_name is not None:
        _check_class(class_name, model.class_names)
    folder = model.folder
    found, missing = data_or_reason(folder, data_dir, data)
    subject = _subject(image, model.preprocess, found, missing)
    (answer,) = predict_array(model, subject.image_HWC[None], BYTES)
    answer = replace(answer, name=subject.name, notes=subject.notes)
    assert answer.best is not None
    explained = class_name or answer.best
    index = model.class_names.index(explained)
    rest = (model.preprocess, subject.image_HWC)
    arguments = (model.saved.model, *rest)
    smooth, quick = _many_passes(model)
    with repeatable(usable_threads(), model.device), kept_memory():
        result = Explanation(
            prediction=answer,
            class_name=explained,
            truth=subject.truth,
            grad_cam=grad_cam(*arguments, index),
            attention=class_attention(*arguments),
            integrated_gradients=integrated_gradients(smooth, *rest, index),
            occlusion=occlusion(quick, *rest, index),
            layers=tuple(layer_maps(*arguments)),
            nearest=()
            if found is None
            else tuple(_nearest(model, subject.image_HWC, found, progress)),
            missing=missing,
            sheet=folder.path / f"figures/explain-{_stem(subject.name, class_name)}.png",
            page=folder.path / f"explain-{_stem(subject.name, class_name)}.html",
        )
    drawn = panels(result, model.preprocess, found)
    folder.write(
        str(result.sheet.relative_to(folder.path)),
        overview([(panel.words, panel.drawing) for panel in drawn]).png(),
    )
    folder.write(result.page.name, render(page(model, result, drawn)))
    return result


def _many_passes(model: RunModel) -> tuple[nn.Module, nn.Module]:
    """Return the networks for many gradients and for many predictions. For large images they are
    faster copies that differ only by rounding."""
    network, preprocess = model.saved.model, model.preprocess
    if pixels_seen(network, preprocess) > LARGE and isinstance(network, NetworkModule):
        with suppress(RuntimeError, ValueError, TypeError):  # used itself if not copyable
            smooth = folded(network, torch.float32, at_once=False)
            return smooth, folded(network, torch.float32)
    return network, network


def _nearest(
    model: RunModel, image_HWC: UInt8Array, found: TrainTest, progress: Progress | None
) -> list[Neighbour]:
    """Return the most similar training images. For large images, a fast copy of the network finds
    the candidates, and the network itself compares them."""
    network, preprocess = model.saved.model, model.preprocess
    images_NHWC = found.train.images_NHWC
    if pixels_seen(network, preprocess) <= LARGE or len(images_NHWC) <= CANDIDATES:
        return nearest(network, preprocess, image_HWC, images_NHWC, progress=progress)
    all_NF = _all_features(model, found.train, progress)
    (own_F,) = extract(network, preprocess, image_HWC[None])[0]
    lengths_N = np.linalg.norm(all_NF, axis=1)
    alike_N = all_NF @ own_F / np.where(lengths_N > 0, lengths_N, 1)
    rows = np.sort(np.argsort(-alike_N, kind="stable")[:CANDIDATES])
    best = nearest(network, preprocess, image_HWC, images_NHWC[rows])
    return [replace(one, index=int(rows[one.index])) for one in best]


def _all_features(model: RunModel, train: Dataset, progress: Progress | None) -> Float32Array:
    """Return features float32 N×F of the training images themselves: from the cache if training
    saved them; otherwise compute and save them for the next picture."""
    network, preprocess = model.saved.model, model.preprocess
    listed = model.saved.architecture.network
    if listed.code is not None or last_dense(network) is None:  # the layers of own code are unknown
        found_VNF = extract(network, preprocess, train.images_NHWC, progress=progress)
    else:
        extractor = extractor_of(network, preprocess, listed)
        found_VNF = picture_features(extractor, train, VIEWS[:1], progress).features_VNF
    plain_NF: Float32Array = found_VNF[0]
    return plain_NF


def _check_class(name: str, class_names: Sequence[str]) -> None:
    if name not in class_names:
        close = difflib.get_close_matches(name, class_names, n=1)
        listed = ", ".join(class_names[:20]) + (" …" if len(class_names) > 20 else "")
        raise UserError(
            f"this run has no class {name!r}; {f'did you mean {close[0]}? ' if close else ''}its "
            f"classes are {listed}"
        )


def _subject(
    image: UInt8Array | str | Path, preprocess: Preprocess, found: TrainTest | None, missing: str
) -> _Subject:
    if isinstance(image, np.ndarray):
        pixels_HWC = image[..., None] if image.ndim == 2 else image
        if pixels_HWC.shape != preprocess.image_shape:
            wanted = "×".join(map(str, preprocess.image_shape))
            raise ValueError(f"wanted uint8 images {wanted}, got shape {image.shape}")
        (image_HWC,), notes = levels_to_ask([pixels_HWC], 1)
        return _Subject(name="array", image_HWC=image_HWC, notes=notes)
    if not isinstance(image, str | Path):
        raise ValueError(f"wanted the path of a picture or an array, got {type(image).__name__}")
    word = str(image)
    if word.startswith("test:"):
        if found is None:
            raise DataError(
                f"{word} is an image of the test set, which is not available: {missing}"
            )
        test = found.test
        number = word.removeprefix("test:")
        if not re.fullmatch(r"[0-9]{1,12}", number) or int(number) >= len(test):
            raise UserError(
                f"{word}: wanted the number of a test image, test:0 to test:{len(test) - 1}"
            )
        index = int(number)
        return _Subject(
            name=f"test:{index}",
            image_HWC=test.images_NHWC[index],
            truth=test.label_of(index),
        )
    sources = expand([word], getattr(sys.stdin, "buffer", None))
    if len(sources) != 1:
        raise UserError(
            f"{word} holds {len(sources)} pictures; explain takes one, such as {sources[0].name}"
        )
    picture = prepare(sources[0], preprocess)
    return _Subject(name=picture.name, image_HWC=picture.image_HWC, notes=picture.notes)


def _stem(name: str, class_name: str | None) -> str:
    """Return part of a file name: the picture's name, and the class if one was given."""
    own = "standard-input" if name == "-" else Path(name).stem
    whole = own if class_name is None else f"{own}-as-{class_name}"
    return re.sub(r"[^\w.-]+", "-", whole).strip("-.")[:80] or "picture"
