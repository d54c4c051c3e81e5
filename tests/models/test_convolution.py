"""The fast convolutions and pooling, compared with PyTorch's own in double precision."""

import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, max_pool2d
from torch.utils.flop_counter import FlopCounterMode

from firstlight.models import blocks, unfolded, winograd
from firstlight.models.blocks import max_pool_2x2
from firstlight.models.convolution import Convolution3x3, direct


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("images", "inputs", "outputs", "height", "width"),
    [
        (3, 5, 7, 8, 8),  # whole tiles
        (4, 3, 2, 7, 10),  # cut off at both edges
        (2, 6, 4, 1, 1),
        (2, 4, 6, 3, 17),
        (23, 4, 6, 9, 6),
    ],
)
@pytest.mark.parametrize("images_a_part", [1000, 10, 1])
@pytest.mark.parametrize("way", [winograd, unfolded])
def test_output_and_gradients_are_those_of_a_direct_convolution(
    way: ModuleType,
    images: int,
    inputs: int,
    outputs: int,
    height: int,
    width: int,
    images_a_part: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiles = math.ceil(height / 4) * math.ceil(width / 4)
    numbers_an_image = {
        winograd: 36 * tiles * (inputs + outputs),
        unfolded: 9 * height * width * inputs,
    }
    monkeypatch.setattr(way, "PART", numbers_an_image[way] * images_a_part)
    maps = numbers(images, inputs, height, width).contiguous(memory_format=torch.channels_last)
    weight = numbers(outputs, inputs, 3, 3, seed=1)
    grad = numbers(images, outputs, height, width, seed=2)
    maps.requires_grad_()
    weight.requires_grad_()

    out = way.convolve(maps, weight)
    found = (out, *torch.autograd.grad(out, (maps, weight), grad))

    exact_maps, exact_weight = (part.detach().double().requires_grad_() for part in (maps, weight))
    direct = conv2d(exact_maps, exact_weight, padding=1)
    wanted = (direct, *torch.autograd.grad(direct, (exact_maps, exact_weight), grad.double()))
    for have, want in zip(found, wanted, strict=True):
        assert have.shape == want.shape
        assert (have - want).norm() / want.norm() < 5e-6
        assert (have - want).abs().max() / want.abs().max() < 5e-5


@pytest.mark.parametrize("way", [winograd, unfolded])
def test_the_filters_are_trained_where_the_maps_want_no_gradient(way: ModuleType) -> None:
    maps, weight = numbers(4, 3, 5, 5), numbers(2, 3, 3, 3, seed=1).requires_grad_()
    (found,) = torch.autograd.grad(way.convolve(maps, weight).sum(), weight)
    (wanted,) = torch.autograd.grad(conv2d(maps, weight, padding=1).sum(), weight)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_the_layer_is_pytorchs_own_convolution_wherever_no_other_way_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    taken: list[str] = []

    def noted(way: ModuleType) -> Callable[[Tensor, Tensor], Tensor]:
        own = way.convolve

        def convolve(maps: Tensor, weight: Tensor) -> Tensor:
            taken.append(way.__name__.rpartition(".")[2])
            result: Tensor = own(maps, weight)
            return result

        return convolve

    for way in (winograd, unfolded):
        monkeypatch.setattr(way, "convolve", noted(way))

    def way_of(layer: Convolution3x3, maps: Tensor) -> str:
        taken.clear()
        out, wanted = layer(maps), conv2d(maps, layer.weight, padding=1)
        assert (out - wanted).abs().max() <= 0.01 * wanted.abs().max()  # bfloat16 in one case
        return " and ".join(taken) or "own"

    wide, narrow = Convolution3x3(96, 96), Convolution3x3(32, 128)
    many = numbers(100, 96, 4, 4)
    assert way_of(wide, many) == "winograd"
    assert way_of(wide, many[:50]) == "unfolded"
    assert way_of(wide, many[:, :, :3, :3]) == "unfolded", "tiles of which little is used"
    assert way_of(narrow, many[:, :32]) == "own"
    with torch.autocast("cpu", torch.bfloat16):
        assert way_of(wide, many) == "own"
    with direct():
        assert way_of(wide, many) == "own"
    assert way_of(wide, many) == "winograd"
    assert way_of(wide.double(), many.double()) == "own"
    assert way_of(wide.float().requires_grad_(False), many) == "own"
    assert way_of(wide.requires_grad_(True).eval(), many) == "own"
    wide.train()
    exported = torch.export.export(
        wide, (many[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    assert torch.equal(exported.module()(many), conv2d(many, wide.weight, padding=1))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert way_of(wide, many) == "own"


@pytest.mark.parametrize("way", [winograd, unfolded])
def test_a_second_time_gives_the_same_bits(way: ModuleType) -> None:
    def once() -> list[Tensor]:
        maps = numbers(200, 64, 9, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = numbers(128, 64, 3, 3, seed=1).requires_grad_()
        out = way.convolve(maps, weight)
        return [out, *torch.autograd.grad(out, (maps, weight), numbers(*out.shape, seed=2))]

    for first, second in zip(once(), once(), strict=True):
        assert torch.equal(first, second)


def test_work_is_counted_as_the_direct_way_would_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer, maps = Convolution3x3(96, 96), numbers(100, 96, 4, 4)
    with direct(), FlopCounterMode(display=False) as counter:
        layer(maps).sum().backward()
    # Forward and the filters' gradient: two operations for each of 9 × 96 × 96 weights at a place.
    assert counter.get_total_flops() == 2 * 2 * 9 * 96 * 96 * 100 * 16


def test_pooling_keeps_its_input_where_the_gradient_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MPS searches for the largest pixels again; PyTorch's meta device takes its place here."""
    monkeypatch.setattr(blocks, "KEEPS_INPUT", "meta")
    maps = torch.empty(2, 3, 4, 4, device="meta", requires_grad=True)
    kept: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        max_pool_2x2(maps)
    assert maps.shape in [tensor.shape for tensor in kept]


@pytest.mark.parametrize("shape", [(5, 7, 9, 11), (3, 1, 4, 6), (2, 4, 2, 2)])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_pooled_maps_are_max_pooled_ones_and_the_input_is_not_kept(
    shape: tuple[int, ...], order: torch.memory_format
) -> None:
    maps = numbers(*shape).relu().contiguous(memory_format=order).requires_grad_()  # ties at zero
    kept: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        out = max_pool_2x2(maps)
    wanted = max_pool2d(maps, 2)
    grad = numbers(*wanted.shape, seed=1)

    assert torch.equal(out, wanted)
    assert torch.equal(
        torch.autograd.grad(out, maps, grad)[0], torch.autograd.grad(wanted, maps, grad)[0]
    )
    assert [t.shape for t in kept] == [wanted.shape]
