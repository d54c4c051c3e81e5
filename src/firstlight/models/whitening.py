"""The module of the whitening stem.

After K. Jordan: 94 % on CIFAR-10 in 3.29 seconds on a single GPU. arXiv:2404.00498, 2024, section
3.2. A stem with larger patches and a stride of 2 quarters the work of the layers after it. Axes: N
images, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from firstlight.layers.layer import Shape
from firstlight.layers.whiten import Whiten
from firstlight.models.blocks import unfilled

# Added to the variances of the patches, so that directions of pure noise are not amplified.
EPSILON = 5e-4


class Whitening(nn.Conv2d):
    """A convolution whose filters ``initialize_from`` sets; only its bias may be trained."""

    def __init__(self, choice: Whiten, shape: Shape) -> None:
        super().__init__(shape[2], choice.filters, choice.kernel, choice.stride, device="meta")
        unfilled(self)
        # Training the bias needs the gradient of the largest maps, which nothing else needs.
        for name, parameter in self.named_parameters():
            parameter.requires_grad = name == "bias" and choice.bias
            nn.init.zeros_(parameter)

    def initialize_from(self, maps_NCHW: Tensor) -> None:
        """Set the filters from training images, so that their outputs have unit covariance.

        The filters are the eigenvectors of the patches' covariance with the largest eigenvalues,
        each divided by the square root of its eigenvalue, and the same filters negated, so that an
        activation that cuts off one sign loses nothing.
        """
        kernel, stride = self.kernel_size[0], self.stride[0]
        half = self.out_channels // 2
        channels = maps_NCHW.shape[1]
        # In float64 and by LAPACK, neither of which Apple's GPUs have: on the CPU everywhere.
        patches = maps_NCHW.cpu().unfold(2, kernel, stride).unfold(3, kernel, stride)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * kernel**2).double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        filters = (vectors / (values + EPSILON).sqrt()).T.flip(0)[:half]
        # The sign of an eigenvector is arbitrary; fixing it makes the weights repeatable.
        signs = filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()
        filters = (filters * signs).reshape(-1, channels, kernel, kernel)
        with torch.no_grad():
            self.weight.copy_(torch.cat([filters, -filters]))
