"""A linear head on features: logistic regression whose penalty is chosen on held-out images.

Axes: N images, F features, K classes.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from firstlight.packages import imported
from firstlight.threads import usable_threads
from firstlight.training.logistic import (
    EXACT,
    Axes,
    Float32Array,
    Float64Array,
    Int64Array,
    Sample,
    Weights,
    blank,
    fit,
    principal_axes,
    softmax,
)

NEVER = -1
"""The fold of an image that is always trained on."""
FOLDS = 5
"""As many are usual."""
_RATIOS = tuple(10.0 ** (-step / 2) for step in range(1, 13))
"""Penalties, each as a share of the number of features, the strongest first."""
_USUAL = 1e-2
"""Where nothing can be held out."""
_WORSE = 2
"""After so many penalties in a row that are worse than the best, weaker ones are not tried."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearHead:
    """Scores are features · weights + bias."""

    weights_KF: Float32Array
    """float32, as a dense layer holds them."""
    bias_K: Float32Array
    """float32."""

    def scores(self, features_NF: Float32Array) -> Float32Array:
        """float32 N×K, before the softmax."""
        return features_NF @ self.weights_KF.T + self.bias_K


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedHead:
    """A head, and how it did on images that were held out."""

    head: LinearHead
    """Fitted to all images."""
    fold_heads: tuple[LinearHead, ...]
    """Each fitted to the images of all other folds, with the same penalty."""
    held_out_NK: Float32Array
    """float32 scores of each image by the head that was not fitted to it; NaN where each was."""
    penalty: float
    """Of the mean loss: that + penalty / 2 · (sum of the squared weights of standardised
    features)."""
    losses: tuple[tuple[float, float], ...]
    """(penalty, mean log loss of the held-out images), in the order they were tried; empty where
    nothing could be held out."""
    notes: tuple[str, ...]
    """What could not be held out, for people."""

    def probabilities(self) -> Float32Array:
        """float32 N×K: the softmax of ``held_out_NK``."""
        return softmax(self.held_out_NK.astype(np.float64)).astype(np.float32)


def need_scipy() -> None:
    """Load what solves the regression. Raises ``UserError`` where that is not installed."""
    imported("scipy.linalg", "a last layer fitted to a pretrained network's features")


def fit_head(
    features_NF: Float32Array,
    labels_N: Int64Array,
    class_names: Sequence[str],
    fold_N: Int64Array,
    weights_N: Float32Array | None = None,
) -> FittedHead:
    """Fit a head to float32 features N×F and int64 labels of K classes.

    ``fold_N`` says in which fold, from 0 on, each image is held out; ``NEVER`` is none. One fold is
    a held-out part, several are cross-validation (``data.split.folds``). Images of one group, and
    views of one image, belong in one fold. The penalty is the one with the smallest log loss of
    what is held out. ``weights_N`` is how much each image counts in fitting and in that loss.
    Features are standardised over all images, also those held out, whose labels do not count in it.

    A class is never held out as a whole: where all of its images are in one fold, they are trained
    on in every fold, and ``notes`` says so. Where nothing is left to hold out, the penalty is a
    usual one. The same input gives the same bits, with any number of threads. Raises ``ValueError``
    for features that are not finite.
    """
    need_scipy()  # it has threads of its own, limited only once it is loaded

    if not len(labels_N) or not np.isfinite(features_NF).all():
        raise ValueError(f"features must be finite numbers of at least one image: {len(labels_N)}")
    classes = len(class_names)
    fold_N, whole = _never_whole(fold_N, labels_N, classes)
    notes = _notes(whole, class_names, bool((fold_N != NEVER).any()))
    counts_N = np.ones(len(labels_N)) if weights_N is None else weights_N.astype(np.float64)
    numbers = np.unique(fold_N[fold_N != NEVER]).tolist()
    # Folds share the processors; with one thread each, the bits depend on no number of threads.
    with threadpool_limits(1, "blas"):
        axes = principal_axes(features_NF)
        everything = _sample(axes, labels_N, counts_N, np.ones(len(labels_N), bool))
        start = blank(everything, axes, classes)
        losses, of_folds = list[tuple[float, float]](), list[Weights]()
        penalty = _USUAL * _features(axes)
        if numbers:
            path = _Path(axes, labels_N, counts_N, [fold_N == number for number in numbers])
            with ThreadPoolExecutor(min(usable_threads(), len(numbers))) as pool:
                penalty, losses, of_folds = path.followed(start, pool)
            start = Weights(
                weights_AK=np.mean([one.weights_AK for one in of_folds], axis=0),
                bias_K=np.mean([one.bias_K for one in of_folds], axis=0),
            )
        final = fit(everything, axes, penalty, start, EXACT)
    held_out_NK = np.full((len(labels_N), classes), np.nan, np.float32)
    for number, weights in zip(numbers, of_folds, strict=True):
        held_out_NK[fold_N == number] = weights.scores(axes.points_NA[fold_N == number])
    return FittedHead(
        head=_head(final, axes),
        fold_heads=tuple(_head(weights, axes) for weights in of_folds),
        held_out_NK=held_out_NK,
        penalty=penalty,
        losses=tuple(losses),
        notes=notes,
    )


class _Path:
    """Penalties one after another, each search starting from what the last one found."""

    def __init__(
        self,
        axes: Axes,
        labels_N: Int64Array,
        counts_N: Float64Array,
        held_out: list[npt.NDArray[np.bool_]],
    ) -> None:
        self.axes, self.labels_N, self.counts_N, self.held_out = axes, labels_N, counts_N, held_out

    def followed(
        self, start: Weights, pool: ThreadPoolExecutor
    ) -> tuple[float, list[tuple[float, float]], list[Weights]]:
        """The best penalty, the loss with each that was tried, and the weights of each fold."""
        folds = range(len(self.held_out))
        now = best = [start] * len(folds)
        losses, least = list[tuple[float, float]](), 0
        for at, ratio in enumerate(_RATIOS):
            penalty = ratio * _features(self.axes)
            tried = list(pool.map(self._tried, folds, [penalty] * len(folds), now))
            now = [weights for weights, _ in tried]
            losses.append((penalty, sum(loss for _, loss in tried) / self._held_out_count()))
            if at == 0 or losses[at][1] < losses[least][1]:
                least, best = at, now
            elif at - least >= _WORSE:
                break
        return losses[least][0], losses, best

    def _tried(self, fold: int, penalty: float, start: Weights) -> tuple[Weights, float]:
        """The weights fitted without a fold, and the sum of the fold's losses."""
        out_N = self.held_out[fold]
        sample = _sample(self.axes, self.labels_N, self.counts_N, ~out_N)
        if not start.weights_AK.any():
            start = blank(sample, self.axes, len(start.bias_K))
        weights = fit(sample, self.axes, penalty, start)
        scores_NK = weights.scores(self.axes.points_NA[out_N])
        scores_NK -= scores_NK.max(axis=1, keepdims=True)
        true_N = scores_NK[np.arange(len(scores_NK)), self.labels_N[out_N]]
        losses_N = np.log(np.exp(scores_NK).sum(axis=1)) - true_N
        return weights, float(self.counts_N[out_N] @ losses_N)

    def _held_out_count(self) -> float:
        return float(sum(self.counts_N[out_N].sum() for out_N in self.held_out))


def _features(axes: Axes) -> float:
    """How many of them vary, and at least one."""
    return max(1.0, float(axes.variances_A.sum()))


def _sample(
    axes: Axes,
    labels_N: Int64Array,
    counts_N: Float64Array,
    of_N: npt.NDArray[np.bool_],
) -> Sample:
    whole = bool(of_N.all())
    chosen_N = counts_N[of_N]
    return Sample(
        points_NA=axes.points_NA if whole else axes.points_NA[of_N],
        labels_N=labels_N[of_N],
        weights_N=chosen_N / chosen_N.sum(),
    )


def _head(weights: Weights, axes: Axes) -> LinearHead:
    """The same head for features as they are: the standardisation becomes part of the weights."""
    weights_FK = axes.turn_FA @ weights.weights_AK
    bias_K = weights.bias_K - axes.mean_F @ weights_FK
    return LinearHead(
        weights_KF=np.ascontiguousarray(weights_FK.T, dtype=np.float32),
        # The same number added to all scores changes no answer.
        bias_K=(bias_K - bias_K.mean()).astype(np.float32),
    )


def _never_whole(
    fold_N: Int64Array, labels_N: Int64Array, classes: int
) -> tuple[Int64Array, list[int]]:
    """Folds without the images of classes that would be left out as a whole; those classes."""
    numbers = np.unique(fold_N[fold_N != NEVER])
    of_N, whole = fold_N.copy(), []
    for k in range(classes):
        mine_N = labels_N == k
        folds_of = np.unique(fold_N[mine_N])
        if len(folds_of) == 1 and folds_of[0] in numbers:
            of_N[mine_N] = NEVER
            whole.append(k)
    return of_N, whole


def _notes(whole: list[int], class_names: Sequence[str], any_held_out: bool) -> tuple[str, ...]:
    if not whole:
        return ()
    if not any_held_out:
        return (
            "too few pictures to hold any out: the default penalty is used, and nothing is "
            "calibrated",
        )
    shown = ", ".join(class_names[k] for k in whole[:10]) + (", …" if len(whole) > 10 else "")
    return (f"too few different pictures to hold any out: {shown}",)
