"""Networks of every kind for these tests, trained ones, and images to explain."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, nn

from firstlight.layers import Whiten
from firstlight.layers.network import Network
from firstlight.layers.networks import tutorial, whitened
from firstlight.models.catalog import Architecture
from firstlight.models.network import NetworkModule
from firstlight.pixels import Preprocess

SHAPE = (20, 26, 3)
NETWORKS = ("tutorial", "whitened")
PREPROCESS = Preprocess(height=20, width=26, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def build(name: str, views: str = "one", seed: int = 1, pool_last: bool = True) -> nn.Module:
    """Return one of ``NETWORKS`` with random weights, in evaluation mode."""
    layers = (
        tutorial((6, 8), dense=7, pool_last=pool_last)
        if name == "tutorial"
        else whitened((6, 8), stem=Whiten(10, kernel=3), scale=0.5, pool_last=pool_last)
    )
    choice = Network(layers=layers, views=views)
    model = Architecture(network=choice, image_shape=SHAPE, classes=5).build(
        Generator().manual_seed(seed)
    )
    if isinstance(model, NetworkModule) and name == "whitened":
        model.initialize_from(PREPROCESS(torch.from_numpy(images(30))))
        with torch.no_grad():  # statistics that differ from a new batch norm's
            model.train()(PREPROCESS(torch.from_numpy(images(30))))
    return model.eval()


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth colour images N×20×26×3."""
    rough = torch.rand(count, 3, 5, 6, generator=Generator().manual_seed(seed))
    smooth = nn.functional.interpolate(rough, SHAPE[:2], mode="bilinear")
    result: NDArray[np.uint8] = (255 * smooth).permute(0, 2, 3, 1).to(torch.uint8).numpy()
    return result
