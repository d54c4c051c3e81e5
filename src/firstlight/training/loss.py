"""How wrong a network's answers are. Axes: B images, K classes."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Cross-entropy in nats with smoothed labels, each image's times its class's weight."""

    smoothing: float
    """Share of the target spread evenly over all classes (Szegedy et al. 2016, section 7)."""
    weights_K: Tensor | None
    """float32; None where all classes weigh the same."""

    def mean(self, logits_BK: Tensor, labels_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """float32 scalar, over the images; each one's loss times its own weight too."""
        if self.weights_K is None and weights_B is None:
            return cross_entropy(logits_BK, labels_B, label_smoothing=self.smoothing)
        each_B = self.each(logits_BK, labels_B)
        if self.weights_K is not None:
            each_B = each_B * self.weights_K[labels_B]
        return (each_B if weights_B is None else each_B * weights_B).mean()

    def each(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """float32 B, not weighed."""
        return cross_entropy(logits_BK, labels_B, label_smoothing=self.smoothing, reduction="none")
