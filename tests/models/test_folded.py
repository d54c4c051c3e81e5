"""A folded network answers as the plain one does."""

import pytest
import torch

import firstlight as fl
from firstlight.layers import Layer
from firstlight.models.catalog import Architecture
from firstlight.models.folded import OneDnnConvolution, folded

L = fl.layers


@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize(
    "layers",
    [
        (L.Conv(8, kernel=3, stride=2, padding="same", bias=False), L.BatchNorm(), L.Activation()),
        (L.Conv(8, kernel=5, stride=2, padding="same"), L.Activation("relu6")),
        (
            L.Conv(8, kernel=3, padding="same", bias=False),
            L.BatchNorm(),
            L.Activation("hard-swish"),
        ),
        (L.Conv(8, kernel=3, dilation=2), L.Activation("gelu")),
        (L.Conv(9, kernel=3, groups=3, padding="same"), L.MaxPool(2), L.Activation()),
        (L.Conv(8, kernel=1, stride=2), L.Activation("leaky-relu"), L.BatchNorm()),
        (L.BatchNorm(), L.Conv(8, kernel=3), L.BatchNorm(), L.BatchNorm(), L.Activation()),
    ],
)
def test_it_answers_the_same(layers: tuple[Layer, ...], side: int) -> None:
    network = fl.Network(
        layers=(L.Rescale(2.0), *layers, L.GlobalAveragePool(), L.Dense("classes"))
    )
    rng = torch.Generator().manual_seed(0)
    model = Architecture(network=network, image_shape=(side, side, 3), classes=4).build(rng)
    images_NCHW = torch.randn(6, 3, side, side, generator=rng)
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
    model.train()
    with torch.no_grad():
        model(images_NCHW)  # batch norms have then seen something
        quick = folded(model, torch.float32)
        assert any(isinstance(module, OneDnnConvolution) for module in quick.modules())
        torch.testing.assert_close(quick(images_NCHW), model.eval()(images_NCHW))
