"""The whitening stem at work.

After K. Jordan: 94 % on CIFAR-10 in 3.29 seconds on a single GPU. arXiv:2404.00498, 2024, section
3.2. A stem of larger patches with a stride of 2 quarters the work behind it.
Axes: N images, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from firstlight.layers.layer import Shape
from firstlight.layers.whiten import Whiten
from firstlight.models.blocks import unfilled

# Added to the patches' variances, so that directions of mere noise are not blown up.
EPSILON = 5e-4


class Whitening(nn.Conv2d):
    """A convolution whose filters ``see`` sets; at most its bias is trained."""

    def __init__(self, choice: Whiten, shape: Shape) -> None:
        super().__init__(shape[2], choice.filters, choice.kernel, choice.stride, device="meta")
        unfilled(self)
        # To train the bias asks for the gradient of the largest maps, the rest does not.
        for name, parameter in self.named_parameters():
            parameter.requires_grad = name == "bias" and choice.bias
            nn.init.zeros_(parameter)

    def initialize_from(self, maps_NCHW: Tensor) -> None:
        """Set the filters from training images: what they give then has unit covariance.

        The filters are the eigenvectors of the patches' covariance with the largest eigenvalues,
        each over the root of its own, and the same with the other sign, so that nothing is lost
        behind an activation that cuts one side off.
        """
        kernel, stride = self.kernel_size[0], self.stride[0]
        half = self.out_channels // 2
        channels = maps_NCHW.shape[1]
        patches = maps_NCHW.unfold(2, kernel, stride).unfold(3, kernel, stride)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * kernel**2).double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        filters = (vectors / (values + EPSILON).sqrt()).T.flip(0)[:half]
        # An eigenvector has no sign of its own; fixing one makes the weights repeatable.
        signs = filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()
        filters = (filters * signs).reshape(-1, channels, kernel, kernel)
        with torch.no_grad():
            self.weight.copy_(torch.cat([filters, -filters]))
