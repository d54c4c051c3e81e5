"""The running average of the weights, compared with its sum written out."""

import numpy as np
import torch
from torch import nn

from firstlight.training.averaging import WeightAverage


def test_the_mean_is_the_weighted_sum_of_all_weights_seen() -> None:
    layer, norm = nn.Linear(2, 3), nn.BatchNorm1d(3)
    assert norm.running_mean is not None
    average = WeightAverage(nn.Sequential(layer, norm), decay=0.5)
    start = layer.weight.detach().numpy().copy()
    expected, statistic = start.copy(), 0.0

    for step in range(1, 40):
        with torch.no_grad():
            layer.weight += step
            norm.running_mean.fill_(step)
        average.update(step)
        decay = min(0.5, step / (step + 9))
        seen = start + step * (step + 1) / 2
        expected = decay * expected + (1 - decay) * seen
        statistic = decay * statistic + (1 - decay) * step

    kept = average.model.state_dict()
    np.testing.assert_allclose(kept["0.weight"].numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(kept["1.running_mean"].numpy(), statistic, rtol=1e-5)
    assert not average.model.training
    assert not any(weight.requires_grad for weight in average.model.parameters())
