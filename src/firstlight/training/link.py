"""How the scores of a last layer become probabilities, and how wrong these are, in NumPy.

``training/loss.py`` has the same for networks, in PyTorch. Axes: N images, K classes.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.evaluate.label_calibration import label_losses, sigmoid

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]
"""int64 N, 0 to K-1; or bool N×K, if images have several labels."""


class Link(ABC):
    """One of the two, as a value."""

    @abstractmethod
    def shares(self, scores_NK: Float64Array) -> Float64Array:
        """Probabilities N×K."""

    @abstractmethod
    def blank(self, labels: Labels, weights_N: Float64Array, classes: int) -> Float64Array:
        """Scores K that know only how frequent each class is. A class without images counts as half
        an image."""

    @abstractmethod
    def there(self, labels: Labels, classes: int) -> BoolArray:
        """K: which classes these images tell anything about."""

    @abstractmethod
    def slopes(
        self, scores_NK: npt.NDArray[np.floating], labels: Labels, weights_N: Float64Array
    ) -> float:
        """Return the weighted sum of the losses, and put its slope in place of the scores."""

    @abstractmethod
    def losses(self, scores_NK: Float64Array, labels: Labels) -> Float64Array:
        """N: the log loss of each image."""

    @abstractmethod
    def settled(self, bias_K: Float64Array) -> Float64Array:
        """The same answers, where several biases give them."""


class Softmax(Link):
    """Each image is of one class. Labels are int64 N."""

    def shares(self, scores_NK: Float64Array) -> Float64Array:
        """They sum to 1 for each image."""
        return softmax(scores_NK)

    def blank(self, labels: Labels, weights_N: Float64Array, classes: int) -> Float64Array:
        """The logarithm of each class's share."""
        shares_K = np.bincount(labels, weights_N, minlength=classes)
        bias_K: Float64Array = np.log(np.maximum(shares_K, 0.5 / len(labels)))
        return bias_K

    def there(self, labels: Labels, classes: int) -> BoolArray:
        """Those that have images."""
        found_K: BoolArray = np.bincount(labels, minlength=classes) > 0
        return found_K

    def slopes(
        self, scores_NK: npt.NDArray[np.floating], labels: Labels, weights_N: Float64Array
    ) -> float:
        """Return the weighted sum of the cross-entropies, and put its slope in place."""
        at = np.arange(len(labels)), labels
        scores_NK -= scores_NK.max(axis=1, keepdims=True)
        true_N = scores_NK[at].astype(np.float64)
        shares_NK = np.exp(scores_NK, out=scores_NK)
        sums_N = shares_NK.sum(axis=1)
        total = float(weights_N @ (np.log(sums_N.astype(np.float64)) - true_N))
        shares_NK *= (weights_N / sums_N).astype(scores_NK.dtype)[:, None]
        shares_NK[at] -= weights_N.astype(scores_NK.dtype)
        return total

    def losses(self, scores_NK: Float64Array, labels: Labels) -> Float64Array:
        """The negative logarithm of the probability of each image's class."""
        scores_NK = scores_NK - scores_NK.max(axis=1, keepdims=True)
        true_N = scores_NK[np.arange(len(scores_NK)), labels]
        losses_N: Float64Array = np.log(np.exp(scores_NK).sum(axis=1)) - true_N
        return losses_N

    def settled(self, bias_K: Float64Array) -> Float64Array:
        """With mean 0: adding the same number to all scores changes no answer."""
        settled_K: Float64Array = bias_K - bias_K.mean()
        return settled_K


class Sigmoids(Link):
    """Each image may have any of the labels: a regression for each label against its absence.
    Labels are bool N×K."""

    def shares(self, scores_NK: Float64Array) -> Float64Array:
        """Of each label by itself."""
        return sigmoid(scores_NK)

    def blank(self, labels: Labels, weights_N: Float64Array, classes: int) -> Float64Array:
        """The log odds of each label's share."""
        least = 0.5 / len(labels)
        shares_K = np.clip(weights_N @ labels, least, 1 - least)
        bias_K: Float64Array = np.log(shares_K / (1 - shares_K))
        return bias_K

    def there(self, labels: Labels, classes: int) -> BoolArray:
        """Those that some images have and others have not."""
        having_K = labels.sum(axis=0)
        found_K: BoolArray = (having_K > 0) & (having_K < len(labels))
        return found_K

    def slopes(
        self, scores_NK: npt.NDArray[np.floating], labels: Labels, weights_N: Float64Array
    ) -> float:
        """Return the weighted sum of the binary cross-entropies, and put its slope in place."""
        exact_NK = scores_NK.astype(np.float64)
        total = float(weights_N @ label_losses(exact_NK, labels))
        scores_NK[:] = (sigmoid(exact_NK) - labels) * weights_N[:, None]
        return total

    def losses(self, scores_NK: Float64Array, labels: Labels) -> Float64Array:
        """The binary cross-entropies, summed over the labels."""
        return label_losses(scores_NK, labels)

    def settled(self, bias_K: Float64Array) -> Float64Array:
        """As it is: each score is judged by itself."""
        return bias_K


def link_for(labels: Labels) -> Link:
    """The link of these labels."""
    return Sigmoids() if labels.ndim == 2 else Softmax()


def softmax(scores_NK: Float64Array) -> Float64Array:
    """Probabilities N×K."""
    shares_NK: Float64Array = np.exp(scores_NK - scores_NK.max(axis=1, keepdims=True))
    shares_NK /= shares_NK.sum(axis=1, keepdims=True)
    return shares_NK
