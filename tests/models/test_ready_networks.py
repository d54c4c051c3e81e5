"""The ready networks, compared with their papers' numbers."""

import pytest
from torch import Generator

from firstlight.data.catalog import CATALOG
from firstlight.layers import BatchNorm, Conv, Dense, Layer, Residual
from firstlight.layers.network import Network
from firstlight.layers.sequence import shapes, written_out
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.optimizers import SGD
from firstlight.recipe import load_recipe
from firstlight.schedules import Steps


def net(name: str) -> Network:
    return load_recipe(name).network


def image_shape(name: str) -> tuple[int, int, int]:
    return CATALOG[name.partition("-")[0]].image_shape


def parameters(name: str) -> int:
    built = Architecture(network=net(name), image_shape=image_shape(name), classes=10)
    return parameter_count(built.build(Generator()))


def in_order(layers: tuple[Layer, ...]) -> list[Layer]:
    """Return every layer with its own weights, with repeats expanded."""
    flat: list[Layer] = []
    for layer in layers:
        parts = layer.parts()
        if parts != (layer,):
            flat += in_order(parts)
        else:
            flat += in_order(layer.inner()) if layer.inner() else [layer]
    return flat


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mnist-logistic", 784 * 10 + 10),
        ("fashion_mnist-logistic", 784 * 10 + 10),
        # Keras's example mnist_mlp.py: two layers of 512, as its summary prints it.
        ("mnist-mlp", 669_706),
        ("fashion_mnist-mlp", 669_706),
        # 156 + 2,416 + 48,120 + 10,164 + 850: every map of the second convolution uses all six.
        ("mnist-lenet5", 61_706),
        ("fashion_mnist-lenet5", 61_706),
    ],
)
def test_the_networks_for_grey_images_have_the_known_number_of_parameters(
    name: str, count: int
) -> None:
    assert parameters(name) == count


def test_lenet_5_has_the_maps_of_the_papers_figure_2() -> None:
    layers = [layer.with_classes(10) for layer in net("mnist-lenet5").layers]
    assert shapes(layers, (28, 28, 1))[1:] == [
        *((28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,), (120,), (84,), (10,)),
    ]


def test_resnet_20_has_the_papers_layers_and_parameters() -> None:
    """He et al. 2016, section 4.2 and table 6: 6n + 2 layers with n = 3, and 0.27 million.

    269,722 is the number with option A, whose shortcuts have no parameters; ours use option B.
    """
    layers = net("cifar10-resnet20").layers
    weighted = [one for one in in_order(layers) if isinstance(one, Conv | Dense)]
    assert len(weighted) == 6 * 3 + 2
    widths = [one.filters for one in weighted if isinstance(one, Conv)]
    assert widths == [16] * 7 + [32] * 6 + [64] * 6
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert parameters("cifar10-resnet20") - projections == 269_722


def test_resnet_20_is_trained_by_the_papers_recipe() -> None:
    """Section 4.2: 64,000 steps of 128 are 182 passes over 45,000 images; the rate is divided by 10
    at 32,000 and 48,000."""
    recipe = load_recipe("cifar10-resnet20")
    assert recipe.optimizer == SGD(0.1, momentum=0.9, weight_decay=1e-4)
    assert recipe.schedule == Steps(at=(32 / 64, 48 / 64), factor_each=0.1)
    assert recipe.train.batch_size == 128
    assert recipe.train.held_out_fraction == 5_000 / 50_000
    assert [step.words() for step in recipe.augment] == [
        "shifted by up to 4 pixels",
        "mirrored at random",
    ]


def test_the_vgg_has_3x3_convolutions_alone_in_pairs_twice_as_wide_after_each_pool() -> None:
    """Simonyan and Zisserman 2015, section 2.1."""
    convs = [one for one in in_order(net("cifar10-vgg").layers) if isinstance(one, Conv)]
    assert [one.filters for one in convs] == [32, 32, 64, 64, 128, 128]
    assert {(one.kernel, one.stride, one.padding) for one in convs} == {(3, 1, "same")}


def test_a_separable_convolution_costs_what_the_paper_says() -> None:
    """Howard et al. 2017, section 3.1: 1/N + 1/9 of a 3×3 convolution with N filters."""
    layers = [layer.with_classes(10) for layer in net("cifar10-mobile").layers]
    before = shapes(layers, (32, 32, 3))
    pairs = [
        (depthwise, before[at], pointwise, before[at + 3])
        for at, (depthwise, pointwise) in enumerate(zip(layers, layers[3:], strict=False))
        if isinstance(depthwise, Conv) and depthwise.depthwise and isinstance(pointwise, Conv)
    ]
    assert len(pairs) == 6
    for depthwise, shape, pointwise, between in pairs:
        whole = Conv(pointwise.filters, padding="same").multiply_adds(shape)
        split = depthwise.multiply_adds(shape) + pointwise.multiply_adds(between)
        assert split / whole == pytest.approx(1 / pointwise.filters + 1 / 9)


@pytest.mark.parametrize("name", ["cifar10-vgg", "cifar10-resnet20", "cifar10-mobile"])
def test_no_convolution_before_batch_norm_has_a_bias(name: str) -> None:
    """Batch norm removes any constant (Ioffe and Szegedy 2015, section 3.2)."""
    layers = in_order(net(name).layers)
    convs = [one for one in layers if isinstance(one, Conv)]
    assert convs
    assert len(convs) == sum(isinstance(one, BatchNorm) for one in layers)
    assert not any(one.bias for one in convs)
    for block in written_out(net(name).layers):
        if isinstance(block, Residual):
            assert block.activation == "relu"
