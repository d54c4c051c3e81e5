"""Large images: fewer passes in smaller batches, with the same result."""

import math

import numpy as np
import torch
from torch import Generator, Tensor, nn

from firstlight.evaluate.predict import batch_size
from firstlight.explain.attribution import integrated_gradients, occlusion
from firstlight.layers import (
    Activation,
    Attention,
    BatchNorm,
    ClassToken,
    Conv,
    Dense,
    GlobalAveragePool,
    LayerNorm,
    Residual,
    Resize,
    Tokens,
)
from firstlight.layers.network import Network
from firstlight.layers.stages import stages
from firstlight.models.catalog import Architecture
from firstlight.models.folded import folded
from firstlight.pixels import Preprocess

SIDE = 130
LARGE = Preprocess(height=SIDE, width=SIDE, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


def picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, LARGE.image_shape, dtype=np.uint8)


class Counted(nn.Module):
    """A linear network that records its batch sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(math.prod(LARGE.image_shape), 2)
        nn.init.normal_(self.dense.weight, generator=Generator().manual_seed(0))
        self.batches: list[int] = []

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        self.batches.append(len(pixels_NCHW))
        scores: Tensor = self.dense(pixels_NCHW.flatten(1))
        return scores


def test_attributions_of_a_linear_network_are_known_in_few_small_batches() -> None:
    model, image_HWC = Counted(), picture()
    weights_CHW = model.dense.weight[1].detach().double().numpy().reshape(3, SIDE, SIDE)
    colour_C = np.round(image_HWC.mean(axis=(0, 1)))
    difference_HWC = (image_HWC - colour_C) / 255 / np.array(LARGE.std)
    parts_HW = (weights_CHW * difference_HWC.transpose(2, 0, 1)).sum(axis=0)

    found = integrated_gradients(model, LARGE, image_HWC, 1)
    covered = occlusion(model, LARGE, image_HWC, 1)

    np.testing.assert_allclose(found.values_HW, parts_HW, atol=1e-4)
    assert found.steps == 96
    # The first patch has 26 pixels per side; the next one starts 13 pixels further.
    assert covered.patch == 26
    np.testing.assert_allclose(covered.values_HW[:13, :13], parts_HW[:26, :26].sum(), rtol=1e-3)
    assert max(model.batches) == 16
    assert sum(model.batches) < 96 + 9 * 9 + 10


def test_a_transformer_needs_fewer_steps_than_a_network_of_relus() -> None:
    image_HWC, patches = picture(), Conv(8, kernel=26, stride=26)
    smooth = (patches, Tokens(), Residual((LayerNorm(), Attention(2)), activation="none"))
    networks = ((*smooth, ClassToken()), (patches, Activation("relu"), GlobalAveragePool()))
    steps = []
    for layers in networks:
        network = Network(layers=(*layers, Dense("classes")))
        model = Architecture(network=network, image_shape=LARGE.image_shape, classes=3).build(
            Generator().manual_seed(0)
        )
        found = integrated_gradients(model.eval(), LARGE, image_HWC, 1)
        steps.append(found.steps)
    assert steps == [24, 96]


def test_small_images_that_the_network_enlarges_are_large_ones() -> None:
    small = Preprocess(height=20, width=20, channels=3, mean=LARGE.mean, std=LARGE.std)
    image_HWC = picture()[:20, :20].copy()
    layers = (Resize(SIDE), Conv(4, kernel=9, stride=9), Activation("relu"), GlobalAveragePool())
    model = Architecture(
        network=Network(layers=(*layers, Dense("classes"))), image_shape=(20, 20, 3), classes=3
    ).build(Generator().manual_seed(0))
    batches: list[int] = []
    model.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))

    assert integrated_gradients(model.eval(), small, image_HWC, 1).steps == 96
    occlusion(model, small, image_HWC, 1)
    assert max(batches) == batch_size(torch.device("cpu"), SIDE * SIDE) < 125


def test_batches_of_large_images_are_smaller_and_of_others_as_they_were() -> None:
    cpu = torch.device("cpu")
    sides = (28, 128, 224, 448, 2000)
    assert [batch_size(cpu, side * side) for side in sides] == [125, 125, 16, 4, 1]


def test_a_copy_with_norms_folded_has_the_same_gradients() -> None:
    layers = (Conv(6, kernel=3, bias=False), BatchNorm(), Activation("relu6"))
    network = Network(layers=(*layers, GlobalAveragePool(), Dense("classes")))
    model = Architecture(network=network, image_shape=(12, 12, 3), classes=4).build(
        Generator().manual_seed(0)
    )
    model.train()
    with torch.no_grad():
        model(torch.randn(16, 3, 12, 12, generator=Generator().manual_seed(1)))
    model.eval()
    pixels = torch.randn(2, 3, 12, 12, generator=Generator().manual_seed(2)).requires_grad_()
    found = [
        torch.autograd.grad(one(pixels)[:, 1].sum(), pixels)[0]
        for one in (folded(model, torch.float32, at_once=False), model)
    ]
    assert found[1].abs().max() > 0
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_of_a_long_network_the_first_the_last_of_each_size_and_the_numbers_are_shown() -> None:
    sizes = [(8, 8)] * 36 + [(4, 4), (1, 1), (4, 4), (8, 2), (4, 4), (1, 1), (1, 1)]
    # Number 37, a squeeze in the middle, is not one of the final scores.
    assert stages(sizes) == [0, 35, 39, 40, 41, 42]
    assert stages(sizes[-40:]) == [*range(40)]
    assert stages([(1, 1)] * 50) == [*range(50)]
