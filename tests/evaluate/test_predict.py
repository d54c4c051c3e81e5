"""Many large images are predicted by a fast copy of the network, with the same answers."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.evaluate import predict
from firstlight.evaluate.predict import LARGE_BATCH, batch_size, pixels_seen, probabilities
from firstlight.models.catalog import Architecture
from firstlight.models.folded import folded
from firstlight.pixels import Preprocess

L = fl.layers
MANY = LARGE_BATCH + 1


def network(side: int, *first: fl.layers.Layer) -> nn.Module:
    layers = (
        *first,
        *(L.Conv(8, kernel=3, stride=2, padding="same", bias=False), L.BatchNorm()),
        *(L.Activation("relu6"), L.Conv(16, kernel=3, stride=2), L.Activation()),
        *(L.GlobalAveragePool(), L.Dense("classes")),
    )
    choice = fl.Network(layers=layers, views="mirror")
    rng = torch.Generator().manual_seed(0)
    return Architecture(network=choice, image_shape=(side, side, 3), classes=4).build(rng)


def path(side: int) -> Preprocess:
    return Preprocess(height=side, width=side, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)


def images(count: int, side: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@torch.no_grad()
def plainly(model: nn.Module, images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return one pass of the network itself."""
    pixels_NCHW = path(images_NHWC.shape[1])(torch.from_numpy(images_NHWC))
    found: npt.NDArray[np.float32] = model.eval()(pixels_NCHW).softmax(dim=1).numpy()
    return found


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Return the networks that are copied."""
    made = list[nn.Module]()

    def noting(model: nn.Module, dtype: torch.dtype) -> nn.Module:
        made.append(model)
        return folded(model, dtype)

    monkeypatch.setattr(predict, "folded", noting)
    return made


def test_many_large_images_are_answered_the_same_by_a_copy(copies: list[nn.Module]) -> None:
    model, images_NHWC = network(140), images(MANY, 140)
    model.train()
    passes = list[int]()

    def noting(one: nn.Module, given: tuple[torch.Tensor]) -> None:
        if one is model:  # the copy has the hook too
            passes.append(len(given[0]))

    model.register_forward_pre_hook(noting)
    found_NK = probabilities(model, path(140), images_NHWC)
    assert copies == [model]
    assert passes == [1]  # the network itself answers only the image that tests the copy
    assert model.training
    np.testing.assert_allclose(found_NK, plainly(model, images_NHWC), atol=1e-5)


@pytest.mark.parametrize(("count", "side"), [(LARGE_BATCH, 140), (MANY, 128), (300, 28)])
def test_few_or_small_images_are_answered_by_the_network_itself(
    copies: list[nn.Module], count: int, side: int
) -> None:
    model, images_NHWC = network(side), images(count, side)
    found_NK = probabilities(model, path(side), images_NHWC)
    assert not copies
    size = batch_size(torch.device("cpu"), side * side)
    starts = range(0, count, size)
    wanted_NK = np.concatenate([plainly(model, images_NHWC[s : s + size]) for s in starts])
    assert np.array_equal(found_NK, wanted_NK)


def test_images_that_are_resized_inside_count_as_what_they_become(
    copies: list[nn.Module],
) -> None:
    model = network(12, L.Resize(140))
    assert pixels_seen(model, path(12)) == 140 * 140
    images_NHWC = images(MANY, 12)
    found_NK = probabilities(model, path(12), images_NHWC)
    assert copies == [model]
    np.testing.assert_allclose(found_NK, plainly(model, images_NHWC), atol=1e-5)


@pytest.mark.parametrize("fault", ["answers", "error"])
def test_a_copy_that_answers_otherwise_is_not_used(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    other = network(140)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.01)

    def wrong(model: nn.Module, dtype: torch.dtype) -> nn.Module:
        if fault == "error":
            raise TypeError("cannot be copied")
        return other.eval()

    monkeypatch.setattr(predict, "folded", wrong)
    model, images_NHWC = network(140), images(MANY, 140)
    found_NK = probabilities(model, path(140), images_NHWC)
    np.testing.assert_allclose(found_NK, plainly(model, images_NHWC), atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_larger_the_images_the_fewer_pass_at_a_time(device: str) -> None:
    """So that a pass takes about as much memory for images of any size."""
    sides = (28, 128, 224, 448, 1000, 10_000)
    sizes = [batch_size(torch.device(device), side * side) for side in sides]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] == sizes[2] // 4  # of four times as many pixels
    assert sizes[-1] == 1
