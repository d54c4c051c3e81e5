"""Logistic regression with an L2 penalty, solved fast enough to try many penalties.

It is multinomial, or a regression for each label if images have several (``link.py``).
The features are standardised and rotated to their principal axes once. A rotation changes neither
the penalty nor the answers. Along these axes the curvature of the loss is nearly diagonal and known
in advance. Scaled by it, L-BFGS needs about ten steps instead of hundreds.
Axes: N images, F features, A principal axes (A is at most the smaller of N and F), K classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firstlight.training.link import Labels, Link, link_for

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

ROUGH, EXACT = 1e-5, 1e-12
"""A search ends at this relative decrease of the loss: to compare penalties, and for the result."""
_MOST_STEPS = 500
_LEAST_CURVATURE = 1e-4
_LEAST_DEVIATION = 0.01
"""A feature that varies less than this share of the median one counts as varying by that much."""
# Relative to the largest: anything smaller is rounding, along axes on which no images differ.
_LEAST_VARIANCE = 1e-9
_ROWS = 8192


@dataclass(frozen=True, kw_only=True, eq=False)
class Axes:
    """Images as points along the principal axes of their standardised features."""

    points_NA: Float32Array
    variances_A: Float64Array
    """Variance of the points along each axis. The sum is the number of features that vary."""
    mean_F: Float64Array
    turn_FA: Float64Array
    """Maps features minus their mean to points."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Scores are points · weights + bias."""

    weights_AK: Float64Array
    bias_K: Float64Array

    def scores(self, points_NA: Float32Array) -> Float64Array:
        """Scores N×K."""
        weights_AK = self.weights_AK.astype(points_NA.dtype)
        return (points_NA @ weights_AK).astype(np.float64) + self.bias_K


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The images to fit to."""

    points_NA: Float32Array
    labels: Labels
    weights_N: Float64Array
    """The weight of each image's loss; they sum to one."""

    @property
    def link(self) -> Link:
        """One class each, or several labels."""
        return link_for(self.labels)


def principal_axes(features_NF: Float32Array) -> Axes:
    """Standardise and rotate. A feature that never varies is ignored.

    A map that is nearly dead, such as one that a single image excites a little, may be excited a
    thousand times as much by another. Divided by its own deviation it would outweigh all others.
    """
    from scipy.linalg import eigh

    count, width = features_NF.shape
    mean_F = features_NF.mean(axis=0, dtype=np.float64)
    standard_NF = features_NF - mean_F.astype(np.float32)
    deviation_F = np.sqrt(np.square(standard_NF).mean(axis=0, dtype=np.float64))
    flat_F = deviation_F <= 1e-6 * np.abs(mean_F)
    usual = 0.0 if flat_F.all() else float(np.median(deviation_F[~flat_F]))
    deviation_F = np.maximum(deviation_F, _LEAST_DEVIATION * usual)
    scale_F = np.where(flat_F, 0.0, 1 / np.where(flat_F, 1.0, deviation_F))
    standard_NF *= scale_F.astype(np.float32)
    if count > width:
        products_FF = standard_NF.T @ standard_NF
        squares_A, axes_FA = eigh(products_FF, driver="evd", overwrite_a=True, check_finite=False)
        points_NA = standard_NF @ axes_FA
    else:  # as many axes as images: from the Gram matrix of the images
        exact_NF = standard_NF.astype(np.float64)
        squares_A, sides_NA = eigh(exact_NF @ exact_NF.T, driver="evd", check_finite=False)
        real_A = squares_A > _LEAST_VARIANCE * max(squares_A[-1], 1e-300)
        squares_A, sides_NA = squares_A[real_A], sides_NA[:, real_A]
        points_NA = (sides_NA * np.sqrt(squares_A)).astype(np.float32)
        axes_FA = (exact_NF.T @ sides_NA) / np.sqrt(squares_A)
    return Axes(
        points_NA=points_NA,
        variances_A=np.maximum(squares_A, 0).astype(np.float64) / count,
        mean_F=mean_F,
        turn_FA=scale_F[:, None] * axes_FA.astype(np.float64),
    )


def blank(sample: Sample, axes: Axes, classes: int) -> Weights:
    """Weights that know only how frequent each class is."""
    bias_K = sample.link.blank(sample.labels, sample.weights_N, classes)
    return Weights(weights_AK=np.zeros((len(axes.variances_A), classes)), bias_K=bias_K)


def fit(sample: Sample, axes: Axes, penalty: float, start: Weights, fall: float = ROUGH) -> Weights:
    """The weights with the smallest mean loss + penalty / 2 · (sum of their squares).

    The bias is not penalised, and a class without images keeps its initial weights. ``fall`` is
    ``ROUGH`` or ``EXACT``; the exact search computes in float64. Nothing is random: the same input
    gives the same bits with the same number of NumPy threads.
    """
    from scipy.optimize import minimize

    classes = len(start.bias_K)
    shares_NK = sample.link.shares(start.scores(sample.points_NA))
    uncertain = float((shares_NK * (1 - shares_NK)).mean())
    curvature = max(uncertain, _LEAST_CURVATURE)
    # The last row is the bias.
    scale_A1 = np.sqrt(np.append(curvature * axes.variances_A + penalty, curvature))[:, None]
    there_K = sample.link.there(sample.labels, classes)
    dtype = np.float32 if fall == ROUGH else np.float64

    def loss(scaled: Float64Array) -> tuple[float, Float64Array]:
        weights = scaled.reshape(-1, classes) / scale_A1
        value, slope = _loss(sample, weights, dtype)
        value += penalty / 2 * float(np.square(weights[:-1]).sum())
        slope[:-1] += penalty * weights[:-1]
        slope *= there_K
        return value, (slope / scale_A1).ravel()

    first = np.vstack([start.weights_AK, start.bias_K]) * scale_A1
    found = minimize(
        loss,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MOST_STEPS, "ftol": fall, "gtol": 1e-9},
    )
    weights = found.x.reshape(-1, classes) / scale_A1
    return Weights(weights_AK=weights[:-1], bias_K=weights[-1])


def _loss(
    sample: Sample, weights: Float64Array, dtype: type[np.floating]
) -> tuple[float, Float64Array]:
    """The mean loss and its gradient, (A+1)×K, in ``dtype``, a few thousand rows at a time."""
    total, slope = 0.0, np.zeros_like(weights)
    inner_AK, bias_K = weights[:-1].astype(dtype), weights[-1].astype(dtype)
    for first in range(0, len(sample.labels), _ROWS):
        rows = slice(first, first + _ROWS)
        points_NA = sample.points_NA[rows].astype(dtype, copy=False)
        scores_NK = points_NA @ inner_AK
        scores_NK += bias_K
        total += sample.link.slopes(scores_NK, sample.labels[rows], sample.weights_N[rows])
        slope[:-1] += points_NA.T @ scores_NK  # now the slopes
        slope[-1] += scores_NK.sum(axis=0, dtype=np.float64)
    return total, slope
