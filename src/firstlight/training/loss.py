"""How wrong a network's answers are. Axes: B images, K classes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """The negative logarithm of the labels' probability, in nats, image by image."""

    smoothing: float
    """Share of the target spread evenly over all answers."""
    weights_K: Tensor | None
    """float32; None if all classes have the same weight."""

    @abstractmethod
    def mean(self, logits_BK: Tensor, labels_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """Return the mean loss of the images, each times its own weight, as a float32 scalar."""

    @abstractmethod
    def each(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of each image without weights, float32 B."""

    @abstractmethod
    def right(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return which images are answered correctly, bool B."""

    @abstractmethod
    def measured(self, logits_BK: Tensor, labels_B: Tensor) -> tuple[float, float]:
        """Return the mean loss without smoothing and weights, and the accuracy."""


class OneLabelLoss(Loss):
    """Cross-entropy with smoothed labels (Szegedy et al. 2016, section 7), each image's times its
    class's weight. Labels are int64 B."""

    def mean(self, logits_BK: Tensor, labels_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """Return the mean loss of the images, each times its own weight, as a float32 scalar."""
        if self.weights_K is None and weights_B is None:
            return cross_entropy(logits_BK, labels_B, label_smoothing=self.smoothing)
        each_B = self.each(logits_BK, labels_B)
        if self.weights_K is not None:
            each_B = each_B * self.weights_K[labels_B]
        return (each_B if weights_B is None else each_B * weights_B).mean()

    def each(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of each image without weights, float32 B."""
        return cross_entropy(logits_BK, labels_B, label_smoothing=self.smoothing, reduction="none")

    def right(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """The class with the largest score is the true one."""
        return logits_BK.argmax(dim=1) == labels_B

    def measured(self, logits_BK: Tensor, labels_B: Tensor) -> tuple[float, float]:
        """Return the mean loss without smoothing and weights, and the accuracy."""
        loss = cross_entropy(logits_BK, labels_B).item()
        return loss, self.right(logits_BK, labels_B).float().mean().item()


class SeveralLabelsLoss(Loss):
    """Binary cross-entropy, summed over the labels. Labels are bool B×K.

    The sum is the negative logarithm of the probability of all labels of an image, as cross-entropy
    is of its class, so the same learning rates suit both. Smoothing moves a label's target towards
    a half.
    """

    def mean(self, logits_BK: Tensor, labels_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """Return the mean loss of the images, each times its own weight, as a float32 scalar."""
        each_B = self.each(logits_BK, labels_B)
        return (each_B if weights_B is None else each_B * weights_B).mean()

    def each(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of each image without weights, float32 B."""
        targets_BK = labels_B.float() * (1 - self.smoothing) + self.smoothing / 2
        losses_BK = binary_cross_entropy_with_logits(logits_BK, targets_BK, reduction="none")
        return losses_BK.sum(dim=1)

    def right(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """All labels of the image are given, and no others, each from a probability of a half on
        (exact match)."""
        return ((logits_BK > 0) == labels_B).all(dim=1)

    def measured(self, logits_BK: Tensor, labels_B: Tensor) -> tuple[float, float]:
        """Return the mean loss without smoothing and weights, and the accuracy."""
        plain = SeveralLabelsLoss(smoothing=0.0, weights_K=None)
        loss = plain.mean(logits_BK, labels_B).item()
        return loss, self.right(logits_BK, labels_B).float().mean().item()


def loss_for(targets: Tensor) -> type[OneLabelLoss | SeveralLabelsLoss]:
    """The loss of these labels, of the whole set."""
    return SeveralLabelsLoss if targets.ndim == 2 else OneLabelLoss
