"""The last layer, fitted to the features of a pretrained network.

Axes: N images, M of them used, F features, K classes.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.data.dataset import Dataset, Int64Array
from firstlight.data.split import folds
from firstlight.errors import UserError
from firstlight.evaluate.features import head_start
from firstlight.layers import Dense, Rescale
from firstlight.layers.layer import CLASSES
from firstlight.layers.network import Network
from firstlight.models.modules import SquareRoot
from firstlight.models.network import head
from firstlight.pixels import Preprocess
from firstlight.progress import CountingBar
from firstlight.training.extraction import VIEWS, Float32Array
from firstlight.training.linear_head import FOLDS, NEVER, FittedHead, LinearHead, fit_head
from firstlight.training.link import Labels
from firstlight.training.loop import Trainer
from firstlight.training.loss import loss_for
from firstlight.training.position import Fitted
from firstlight.verbs.picture_features import extractor_of, picture_features


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearStart(Fitted):
    """A last layer to start from, and one to end with if no epoch is better.

    Loss and accuracy are those of ``first`` on the images that it was fitted to.
    """

    first: LinearHead
    """Fitted without the held-out images."""
    fit: FittedHead
    """Fitted to all images; with each image's scores from heads fitted without it."""
    labels: Labels
    """Of the images, int64 M or bool M×K."""
    fold_M: Int64Array
    """The fold of each image, as in ``fit_head``; 0 is the held-out part."""
    notes: tuple[str, ...]
    """Notes for the user: what could not be held out, and problems with the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """The images that a head is fitted to."""

    train: Dataset
    rows_M: Int64Array
    """Indices of images to train on."""
    held_M: Int64Array
    """Indices of held-out images."""
    balanced: bool
    """Whether all classes have the same weight."""
    quiet: bool = False
    """Whether progress is hidden."""


def linear_start(
    model: nn.Module, preprocess: Preprocess, network: Network, images: Images
) -> LinearStart:
    """Fit heads to the features that ``model``, of ``network``, computes. If predictions are
    averaged over a mirrored view, so are the features."""
    started = time.perf_counter()
    train, rows_M, held_M = images.train, images.rows_M, images.held_M
    fold_N = np.full(len(train), NEVER)
    if len(held_M):
        fold_N[rows_M] = 1 + folds(train, FOLDS - 1, rows_M)
        fold_N[held_M] = 0
    else:
        fold_N[rows_M] = folds(train, FOLDS, rows_M)
    used_M = np.concatenate([rows_M, held_M])
    features_NF, warnings = _features(model, preprocess, images, network)
    labels = train.each_label[used_M]
    found = fit_head(
        features_NF[used_M],
        labels,
        train.class_names,
        fold_N[used_M],
        _weights(train, used_M, images.balanced),
    )
    first = found.fold_heads[0] if len(held_M) and found.fold_heads else found.head
    loss, accuracy = _measured(*_answered(first, features_NF, train, rows_M))
    return LinearStart(
        first=first,
        fit=found,
        labels=labels,
        fold_M=fold_N[used_M],
        notes=(*warnings, *found.notes),
        loss=loss,
        accuracy=accuracy,
        seconds=time.perf_counter() - started,
        left_out=None if len(held_M) else _left_out(found, labels),
        answers=_answered(first, features_NF, train, held_M) if len(held_M) else None,
    )


def _answered(
    layer: LinearHead, features_NF: Float32Array, train: Dataset, rows_M: Int64Array
) -> tuple[Tensor, Tensor]:
    """Return logits M×K and labels of some of the images."""
    scores_MK = torch.from_numpy(layer.scores(features_NF[rows_M]))
    return scores_MK, torch.from_numpy(train.each_label[rows_M])


def _measured(scores_MK: Tensor, labels: Tensor) -> tuple[float, float]:
    return loss_for(labels)(smoothing=0.0, weights_K=None).measured(scores_MK, labels)


def _left_out(found: FittedHead, labels: Labels) -> tuple[float, float] | None:
    """Return loss and accuracy of the images that some head was fitted without."""
    seen_M = ~np.isnan(found.held_out_NK).any(axis=1)
    if not seen_M.any():
        return None
    return _measured(torch.from_numpy(found.held_out_NK[seen_M]), torch.from_numpy(labels[seen_M]))


def _features(
    model: nn.Module, preprocess: Preprocess, images: Images, network: Network
) -> tuple[Float32Array, tuple[str, ...]]:
    """Return float32 N×F of all images, from the cache if possible, and notes about the cache."""
    views = VIEWS if "mirror" in network.views else VIEWS[:1]
    extractor = extractor_of(model, preprocess, network)
    with CountingBar("looking at", quiet=images.quiet) as bar:
        found = picture_features(extractor, images.train, views, bar)
    features_NF: Float32Array = _into_last(model, found.features_VNF).mean(axis=0)
    return features_NF, found.warnings


def _into_last(model: nn.Module, features_VNF: Float32Array) -> Float32Array:
    """Return the input of the last layer: the square root of the features if the network uses
    it."""
    root = head_start(model)
    if not isinstance(root, SquareRoot):
        return features_VNF
    roots_VNF: Float32Array = root(torch.from_numpy(features_VNF)).numpy()
    return roots_VNF


def _weights(train: Dataset, used_M: Int64Array, balanced: bool) -> Float32Array | None:
    """Return float32 M, the weight of each image, with mean 1; None if all are equal."""
    weights_M = None if train.weights_N is None else train.weights_N[used_M].astype(np.float64)
    if balanced:
        counts_K = np.bincount(train.labels_N[used_M], minlength=len(train.class_names))
        each_M = 1.0 / counts_K[train.labels_N[used_M]]
        weights_M = each_M if weights_M is None else weights_M * each_M
    if weights_M is None:
        return None
    found: Float32Array = (weights_M / weights_M.mean()).astype(np.float32)
    return found


def scale(network: Network) -> float:
    """Return the factor of the last layer's scores. Raises ``UserError`` if that layer has no bias,
    or is followed by anything but a rescaling."""
    layers, factor, offset = [*network.layers], 1.0, 0.0
    while layers and isinstance(last := layers[-1], Rescale):
        factor, offset = factor * last.factor, offset or last.offset
        layers.pop()
    end = layers[-1] if layers else None
    if not isinstance(end, Dense) or end.units != CLASSES or not end.bias or offset or not factor:
        raise UserError(
            'train.start_head = "linear" needs a network whose last layer is dense = "classes", '
            "with a bias; leave it out"
        )
    return factor


def put(found: LinearHead, model: nn.Module, network: Network) -> None:
    """Set the last layer's weights."""
    layer, factor = model.get_submodule(head(model)), scale(network)
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(found.weights_KF / factor))
        layer.bias.copy_(torch.from_numpy(found.bias_K / factor))


def finished(trainer: Trainer) -> LinearStart | None:
    """Return the fitted layers if no epoch was better, so that nothing was trained. The last layer
    is then the one fitted to all images, including held-out ones."""
    begun = trainer.fitted
    if not isinstance(begun, LinearStart) or trainer.kept.epoch != 0:
        return None
    put(begun.fit.head, trainer.answering, trainer.recipe.network)
    return begun
