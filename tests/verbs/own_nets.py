"""Networks as users write them, for the tests of own code; each with batch norm and randomness."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A convolution with batch norm, dropout from the global generator, and a dense layer."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width, channels = image_shape
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(8 * (height // 2) * (width // 2), classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.conv(images)))
        maps = nn.functional.max_pool2d(maps, 2)
        scores: Tensor = self.out(self.drop(maps.view(maps.shape[0], -1)))
        return scores


def make(image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Net(image_shape, classes)
