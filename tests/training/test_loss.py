"""The loss against its formula, worked out by NumPy."""

import numpy as np
import pytest
import torch

from firstlight.training.loss import Loss

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(12, 5)), RNG.integers(0, 5, 12)
OF_CLASS, OF_IMAGE = RNG.uniform(0.5, 2, 5), RNG.uniform(0.5, 2, 12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighs_classes", [False, True])
@pytest.mark.parametrize("weighs_images", [False, True])
def test_each_image_counts_by_its_weight_and_that_of_its_class(
    smoothing: float, weighs_classes: bool, weighs_images: bool
) -> None:
    log_shares = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
    targets = (1 - smoothing) * np.eye(5)[LABELS] + smoothing / 5
    each = -(targets * log_shares).sum(axis=1)
    each *= OF_CLASS[LABELS] if weighs_classes else 1
    each *= OF_IMAGE if weighs_images else 1

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32)

    loss = Loss(smoothing=smoothing, weights_K=tensor(OF_CLASS) if weighs_classes else None)
    weights = tensor(OF_IMAGE) if weighs_images else None
    found = loss.mean(tensor(LOGITS), torch.tensor(LABELS), weights)
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)
