"""The classic tutorial's network. Axes: N images, C channels, H height, W width, K classes."""

from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from firstlight.models.blocks import Dropout, convolution, dense
from firstlight.recipe import ModelChoice


class TutorialCNN(nn.Module):
    """Convolutions without padding, each with ReLU and a 2×2 max-pool, then two dense layers.

    MNIST with widths 32, 64 and dense 64 has 121,930 parameters; CIFAR-10 with widths 32, 64, 128,
    no last pool and dense 128 has 356,810.
    """

    def __init__(
        self, choice: ModelChoice, image_shape: tuple[int, int, int], classes: int, rng: Generator
    ) -> None:
        super().__init__()
        channels = image_shape[2]
        kernels = [choice.first_kernel, *([3] * (len(choice.widths) - 1))]
        self.convolutions = nn.ModuleList(
            convolution(inputs, outputs, kernel, rng)
            for (inputs, outputs), kernel in zip(
                pairwise((channels, *choice.widths)), kernels, strict=True
            )
        )
        self.pools = len(choice.widths) - (0 if choice.pool_last else 1)
        strides = [2 if i < self.pools else 1 for i in range(len(choice.widths))]
        (height, self.rows), (width, self.columns) = (
            _last_and_used(side, kernels, strides) for side in image_shape[:2]
        )
        if height < 1 or width < 1:
            raise ValueError(
                f"images of {image_shape[0]}×{image_shape[1]} pixels are too small for "
                f"{len(choice.widths)} convolutions and {self.pools} pools"
            )
        self.hidden = dense(height * width * choice.widths[-1], choice.dense, rng)
        self.dropout = Dropout(choice.dropout)
        self.logits = dense(choice.dense, classes, rng)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Logits N×K."""
        maps_NCHW = pixels_NCHW[:, :, : self.rows, : self.columns]
        for i, layer in enumerate(self.convolutions):
            maps_NCHW = layer(maps_NCHW)
            # The largest value of a window, then ReLU, equals ReLU, then the largest; the pool
            # first leaves a quarter of the ReLU's work.
            if i < self.pools:
                maps_NCHW = nn.functional.max_pool2d(maps_NCHW, 2)
            maps_NCHW = maps_NCHW.relu_()
        # Flattened as H, W, C: that is how channels-last memory lies, so nothing is copied.
        features_NF = maps_NCHW.permute(0, 2, 3, 1).flatten(1)
        hidden_NF = self.dropout(torch.relu(self.hidden(features_NF)))
        logits_NK: Tensor = self.logits(hidden_NF)
        return logits_NK


def _last_and_used(side: int, kernels: list[int], strides: list[int]) -> tuple[int, int]:
    """The side of the last maps, and how many rows (or columns) of an image they depend on.

    A pool drops an odd last row, so the last rows of the image may reach nothing: 30 of CIFAR-10's
    32 and 26 of MNIST's 28 count. Leaving out the others changes no result and saves a seventh of
    the work.
    """
    last = side
    for kernel, stride in zip(kernels, strides, strict=True):
        last = (last - kernel + 1) // stride
    used = last
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        used = used * stride + kernel - 1
    return last, used
