"""The loss, compared with its formula in NumPy."""

import numpy as np
import pytest
import torch

from firstlight.training.loss import OneLabelLoss, SeveralLabelsLoss, loss_for

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

    loss = OneLabelLoss(smoothing=smoothing, weights_K=tensor(OF_CLASS) if weighs_classes else None)
    weights = tensor(OF_IMAGE) if weighs_images else None
    found = loss.mean(tensor(LOGITS), torch.tensor(LABELS), weights)
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighs_images", [False, True])
def test_of_several_labels_the_binary_cross_entropies_add_up(
    smoothing: float, weighs_images: bool
) -> None:
    has = RNG.random((12, 5)) < 0.3
    p = 1 / (1 + np.exp(-LOGITS))
    targets = (1 - smoothing) * has + smoothing / 2
    each = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(axis=1)
    each *= OF_IMAGE if weighs_images else 1
    loss = SeveralLabelsLoss(smoothing=smoothing, weights_K=None)
    logits = torch.tensor(LOGITS, dtype=torch.float32)
    weights = torch.tensor(OF_IMAGE, dtype=torch.float32) if weighs_images else None
    found = loss.mean(logits, torch.tensor(has), weights)
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)


def test_an_image_is_right_if_all_its_labels_are() -> None:
    logits = torch.tensor([[2.0, -1.0], [2.0, 1.0], [-2.0, -1.0], [-2.0, -1.0]])
    has = torch.tensor([[True, False], [True, False], [False, False], [False, True]])
    loss = loss_for(has)(smoothing=0.3, weights_K=None)
    assert loss.right(logits, has).tolist() == [True, False, True, False]
    plain, accuracy = loss.measured(logits, has)
    assert accuracy == 0.5
    wanted = -np.log(1 / (1 + np.exp(-np.where(has, logits, -logits)))).sum(axis=1).mean()
    assert plain == pytest.approx(wanted, rel=1e-5)
