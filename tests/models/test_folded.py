"""A folded network gives the answers of the original one."""

import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.layers import Layer
from firstlight.models.catalog import Architecture
from firstlight.models.folded import OneByOne, OneDnnConvolution, folded, one_by_one

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
        (L.Conv(3, kernel=3, groups=3, stride=2, padding="same"), L.Activation("relu6")),
        (L.Conv(3, kernel=7, groups=3, stride=2, padding="same"),),
        (L.Conv(3, kernel=3, groups=3, stride=2, dilation=2, padding="same"),),
        (L.Conv(3, kernel=4, groups=3, padding="same"),),
        (L.Conv(3, kernel=4, groups=3, stride=3, padding="same"),),
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
        model(images_NCHW)  # gives batch norm some statistics
        quick = folded(model, torch.float32)
        assert any(isinstance(module, OneDnnConvolution) for module in quick.modules())
        torch.testing.assert_close(quick(images_NCHW), model.eval()(images_NCHW))


def inverted_residual(side: int) -> nn.Module:
    """Return a block in evaluation mode, for colour images."""
    layers = (
        L.Conv(16, kernel=3, stride=2, padding="same", bias=False),
        L.BatchNorm(),
        L.Activation("relu6"),
        L.Conv(96, kernel=1),
        L.Conv(96, kernel=3, groups=96, stride=2, padding="same"),
        L.Conv(8, kernel=1),
        L.GlobalAveragePool(),
        L.Dense("classes"),
    )
    shape, rng = (side, side, 3), torch.Generator().manual_seed(0)
    choice = Architecture(network=fl.Network(layers=layers), image_shape=shape, classes=4)
    return choice.build(rng).eval()


@torch.no_grad()
def test_maps_of_another_size_or_number_are_answered_the_same() -> None:
    model = inverted_residual(20)
    quick = folded(model, torch.float32)
    for count, side in ((4, 20), (1, 20), (4, 20), (3, 19), (3, 21)):
        images_NCHW = torch.randn(count, 3, side, side).contiguous(
            memory_format=torch.channels_last
        )
        wanted_NCHW, found_NCHW = images_NCHW, images_NCHW
        for part in list(model.children())[:-1]:
            wanted_NCHW = part(wanted_NCHW)
        for part in list(quick.children())[:-1]:
            found_NCHW = part(found_NCHW)
        torch.testing.assert_close(found_NCHW, wanted_NCHW)


@torch.no_grad()
def test_layers_with_large_maps_take_one_image_at_a_time() -> None:
    model = inverted_residual(160)
    quick = folded(model, torch.float32)
    images_NCHW = torch.randn(5, 3, 160, 160).contiguous(memory_format=torch.channels_last)
    one_by_one(quick, lambda: quick(images_NCHW[:1]))
    first, *others = quick.children()
    assert isinstance(first, OneByOne)
    assert len(first) == 3  # 96 × 80 × 80 maps leave the second and enter the third
    assert not any(isinstance(part, OneByOne) for part in others)
    torch.testing.assert_close(quick(images_NCHW), model(images_NCHW))


@torch.no_grad()
def test_small_maps_are_taken_together() -> None:
    quick = folded(inverted_residual(32), torch.float32)
    one_by_one(quick, lambda: quick(torch.randn(1, 3, 32, 32)))
    assert not any(isinstance(part, OneByOne) for part in quick.modules())


class ByNumber(nn.Sequential):
    """A user's own network that accesses its modules by number."""

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self[2](self[1](self[0](maps)))
        return result


class Twofold(nn.Module):
    """Does not return a tensor."""

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return maps, maps


class First(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]


def of_ones_own(kind: str) -> nn.Module:
    torch.manual_seed(0)
    conv, act = nn.Conv2d(3, 8, 3), nn.ReLU()
    if kind == "by number":
        return nn.Sequential(ByNumber(conv, nn.BatchNorm2d(8), act), nn.Flatten())
    if kind == "no tensor":
        return nn.Sequential(conv, Twofold(), First(), nn.Conv2d(8, 8, 3), act)
    return nn.Sequential(conv, act, nn.Conv2d(8, 8, 3), act, nn.Conv2d(8, 8, 3))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["by number", "no tensor", "one module twice"])
def test_code_of_ones_own_answers_the_same(kind: str) -> None:
    model = of_ones_own(kind).eval()
    images_NCHW = torch.randn(3, 3, 200, 200)
    quick = folded(model, torch.float32)
    one_by_one(quick, lambda: quick(images_NCHW[:1]))
    torch.testing.assert_close(quick(images_NCHW), model(images_NCHW))
