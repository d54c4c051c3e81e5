"""A linear head on features: logistic regression whose penalty is chosen on held-out images.

If images have several labels, it is one regression for each label, all with the same penalty.

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
from firstlight.training.link import Labels, Link, link_for, softmax
from firstlight.training.logistic import (
    EXACT,
    Axes,
    Float32Array,
    Float64Array,
    Sample,
    Weights,
    blank,
    fit,
    principal_axes,
)

Int64Array = npt.NDArray[np.int64]

NEVER = -1
"""The fold of an image that is always trained on."""
FOLDS = 5
"""The usual number of folds."""
_RATIOS = tuple(10.0 ** (-step / 2) for step in range(1, 13))
"""Penalties as shares of the number of features, strongest first."""
_USUAL = 1e-2
"""The penalty if nothing can be held out."""
_WORSE = 2
"""After this many penalties in a row that are worse than the best, weaker ones are skipped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearHead:
    """Scores are features · weights + bias."""

    weights_KF: Float32Array
    """float32, in the layout of a dense layer."""
    bias_K: Float32Array
    """float32."""

    def scores(self, features_NF: Float32Array) -> Float32Array:
        """Scores of the classes, float32 N×K."""
        return features_NF @ self.weights_KF.T + self.bias_K


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedHead:
    """A head, and its results on held-out images."""

    head: LinearHead
    """Fitted to all images."""
    fold_heads: tuple[LinearHead, ...]
    """For each fold, the head fitted to all other folds, with the same penalty."""
    held_out_NK: Float32Array
    """Scores of each image by the head that was not fitted to it, float32; NaN if all were."""
    penalty: float
    """The chosen L2 penalty: the objective is the mean loss + penalty / 2 · (sum of the squared
    weights of standardised features)."""
    losses: tuple[tuple[float, float], ...]
    """(penalty, mean log loss of the held-out images), in the order tried; empty if nothing could
    be held out."""
    notes: tuple[str, ...]
    """What could not be held out, as messages for the user."""

    def probabilities(self) -> Float32Array:
        """The softmax of ``held_out_NK``, float32 N×K, for one class each."""
        return softmax(self.held_out_NK.astype(np.float64)).astype(np.float32)


def need_scipy() -> None:
    """Load the solver of the regression. Raises ``UserError`` if it is not installed."""
    imported("scipy.linalg", "a last layer fitted to a pretrained network's features")


def fit_head(
    features_NF: Float32Array,
    labels: Labels,
    class_names: Sequence[str],
    fold_N: Int64Array,
    weights_N: Float32Array | None = None,
) -> FittedHead:
    """Fit a head to float32 features N×F and labels of K classes: int64 N, or bool N×K if images
    have several.

    ``fold_N`` is the fold, from 0, in which each image is held out, or ``NEVER``. One fold is a
    held-out part; several are cross-validation (``data.split.folds``). Images of one group and
    views of one image must be in the same fold. The penalty with the smallest held-out log loss is
    chosen. ``weights_N`` says how much each image counts, in fitting and in that loss. Features are
    standardised over all images, including held-out ones; this uses no labels.

    A class is never held out completely: if all of its images are in one fold, they are trained on
    in every fold, and ``notes`` says so. With several labels, all images are held out, and a label
    that is not to be told from the others keeps its share as its score. If nothing is left to hold
    out, a default penalty is used. The same input gives the same bits with any number of threads.
    Raises ``ValueError`` for features that are not finite.
    """
    need_scipy()  # its own threads can only be limited once it is loaded

    count, classes, link = len(labels), len(class_names), link_for(labels)
    if not count or not np.isfinite(features_NF).all():
        raise ValueError(f"features must be finite numbers of at least one image: {count}")
    fold_N, whole = _never_whole(fold_N, labels, classes) if labels.ndim == 1 else (fold_N, [])
    notes = _notes(whole, class_names, bool((fold_N != NEVER).any()))
    counts_N = np.ones(count) if weights_N is None else weights_N.astype(np.float64)
    numbers = np.unique(fold_N[fold_N != NEVER]).tolist()
    # Folds share the processors. One thread each keeps the bits independent of their number.
    with threadpool_limits(1, "blas"):
        axes = principal_axes(features_NF)
        everything = _sample(axes, labels, counts_N, np.ones(count, bool))
        start = blank(everything, axes, classes)
        losses, of_folds = list[tuple[float, float]](), list[Weights]()
        penalty = _USUAL * _features(axes)
        if numbers:
            path = _Path(axes, labels, counts_N, [fold_N == number for number in numbers])
            with ThreadPoolExecutor(min(usable_threads(), len(numbers))) as pool:
                penalty, losses, of_folds = path.followed(start, pool)
            start = Weights(
                weights_AK=np.mean([one.weights_AK for one in of_folds], axis=0),
                bias_K=np.mean([one.bias_K for one in of_folds], axis=0),
            )
        final = fit(everything, axes, penalty, start, EXACT)
    held_out_NK = np.full((count, classes), np.nan, np.float32)
    for number, weights in zip(numbers, of_folds, strict=True):
        held_out_NK[fold_N == number] = weights.scores(axes.points_NA[fold_N == number])
    return FittedHead(
        head=_head(final, axes, link),
        fold_heads=tuple(_head(weights, axes, link) for weights in of_folds),
        held_out_NK=held_out_NK,
        penalty=penalty,
        losses=tuple(losses),
        notes=notes,
    )


class _Path:
    """A path of penalties; each search starts from the result of the last one."""

    def __init__(
        self,
        axes: Axes,
        labels: Labels,
        counts_N: Float64Array,
        held_out: list[npt.NDArray[np.bool_]],
    ) -> None:
        self.axes, self.labels, self.counts_N, self.held_out = axes, labels, counts_N, held_out

    def followed(
        self, start: Weights, pool: ThreadPoolExecutor
    ) -> tuple[float, list[tuple[float, float]], list[Weights]]:
        """The best penalty, the loss with each one tried, and the weights of each fold."""
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
        """The weights fitted without one fold, and the sum of that fold's losses."""
        out_N = self.held_out[fold]
        sample = _sample(self.axes, self.labels, self.counts_N, ~out_N)
        if not start.weights_AK.any():
            start = blank(sample, self.axes, len(start.bias_K))
        weights = fit(sample, self.axes, penalty, start)
        scores_NK = weights.scores(self.axes.points_NA[out_N])
        losses_N = sample.link.losses(scores_NK, self.labels[out_N])
        return weights, float(self.counts_N[out_N] @ losses_N)

    def _held_out_count(self) -> float:
        return float(sum(self.counts_N[out_N].sum() for out_N in self.held_out))


def _features(axes: Axes) -> float:
    """The number of features that vary, at least one."""
    return max(1.0, float(axes.variances_A.sum()))


def _sample(
    axes: Axes,
    labels: Labels,
    counts_N: Float64Array,
    of_N: npt.NDArray[np.bool_],
) -> Sample:
    whole = bool(of_N.all())
    chosen_N = counts_N[of_N]
    return Sample(
        points_NA=axes.points_NA if whole else axes.points_NA[of_N],
        labels=labels[of_N],
        weights_N=chosen_N / chosen_N.sum(),
    )


def _head(weights: Weights, axes: Axes, link: Link) -> LinearHead:
    """The same head for raw features: the standardisation is folded into the weights."""
    weights_FK = axes.turn_FA @ weights.weights_AK
    bias_K = weights.bias_K - axes.mean_F @ weights_FK
    return LinearHead(
        weights_KF=np.ascontiguousarray(weights_FK.T, dtype=np.float32),
        bias_K=link.settled(bias_K).astype(np.float32),
    )


def _never_whole(
    fold_N: Int64Array, labels_N: Int64Array, classes: int
) -> tuple[Int64Array, list[int]]:
    """Folds without the images of classes that would be held out completely, and those classes."""
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
