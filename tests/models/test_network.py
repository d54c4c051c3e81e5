"""Networks of layers, compared with plain PyTorch networks, covariances and averages."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Generator, nn

from firstlight.errors import UserError
from firstlight.layers import Whiten
from firstlight.layers.network import Network
from firstlight.layers.networks import tutorial, whitened
from firstlight.models.blocks import Dropout, shapes_only
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.models.network import NetworkModule
from firstlight.recipe import load_recipe

CASES = [("mnist-tutorial", (28, 28, 1), 121_930), ("cifar10-tutorial", (32, 32, 3), 356_810)]
SHAPE = (20, 26, 3)


def build(choice: Network, shape: tuple[int, int, int], classes: int = 10) -> NetworkModule:
    architecture = Architecture(network=choice, image_shape=shape, classes=classes)
    model = architecture.build(Generator().manual_seed(3))
    assert isinstance(model, NetworkModule)
    return model


def small(**choices: object) -> NetworkModule:
    """Return a whitened network for images of ``SHAPE``."""
    kernel, filters = choices.pop("kernel", 2), choices.pop("filters", 24)
    stem = Whiten(filters, kernel=kernel, stride=choices.pop("stride", 1))  # type: ignore[arg-type]
    views, widths = str(choices.pop("views", "one")), choices.pop("widths", (8, 12, 16))
    layers = whitened(widths, stem=stem, **choices)  # type: ignore[arg-type]
    return build(Network(layers=layers, views=views), SHAPE, 5)


def pixels(count: int = 40) -> torch.Tensor:
    """Return smooth colour images: neighbouring pixels are similar, as in photographs."""
    rough = torch.rand(count, 3, 5, 6, generator=Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, (20, 26), mode="bilinear")


def plain_tutorial(weights: dict[str, nn.Parameter], shape: tuple[int, int, int]) -> nn.Sequential:
    """The tutorial's network as written there, in contiguous memory: convolution, ReLU, max-pool.

    The dense layer's columns are reordered, because features are flattened as C, H, W here.
    """
    layers: list[nn.Module] = []
    convolutions = [v for k, v in weights.items() if k.startswith("conv") and v.dim() == 4]
    for i, weight in enumerate(convolutions):
        layers += [nn.Conv2d(weight.shape[1], weight.shape[0], 3), nn.ReLU()]
        if i + 1 < len(convolutions) or len(convolutions) == 2:
            layers.append(nn.MaxPool2d(2))
    hidden, inputs = weights["dense1.weight"], len(convolutions[-1])
    side = round((hidden.shape[1] / inputs) ** 0.5)
    layers += [nn.Flatten(), nn.Linear(hidden.shape[1], len(hidden)), nn.ReLU()]
    plain = nn.Sequential(*layers, nn.Linear(len(hidden), 10))
    with torch.no_grad():
        for theirs, mine in zip(plain.parameters(), weights.values(), strict=True):
            values = mine.data
            if theirs.dim() == 2 and theirs.shape[1] == side * side * inputs:
                values = values.view(-1, side, side, inputs).permute(0, 3, 1, 2).flatten(1)
            theirs.copy_(values)
    return plain


@pytest.mark.parametrize(("name", "shape", "count"), CASES)
def test_the_tutorials_parameter_counts(name: str, shape: tuple[int, int, int], count: int) -> None:
    assert parameter_count(build(load_recipe(name).network, shape)) == count


@pytest.mark.parametrize(("name", "shape", "count"), CASES)
def test_logits_and_gradients_equal_those_of_the_network_as_the_tutorial_writes_it(
    name: str, shape: tuple[int, int, int], count: int
) -> None:
    ours = build(load_recipe(name).network, shape)
    weights = dict(ours.named_parameters())
    plain = plain_tutorial(weights, shape)
    images = torch.rand(3, shape[2], *shape[:2], generator=Generator().manual_seed(0))
    one, other = ours(images), plain(images)
    # 1e-5: float32 sums of up to 2,048 terms in another order.
    assert torch.allclose(one, other, atol=1e-5)
    one.square().sum().backward()
    other.square().sum().backward()
    first, mine = next(plain.parameters()).grad, weights["conv1.weight"].grad
    assert first is not None and mine is not None
    assert torch.allclose(mine, first, atol=1e-4, rtol=1e-4)


def test_weights_are_glorot_uniform_and_biases_zero() -> None:
    weights = dict(build(load_recipe("cifar10-tutorial").network, (32, 32, 3)).named_parameters())
    for name, fan in {
        "conv2.weight": 9 * (32 + 64),
        "conv3.weight": 9 * (64 + 128),
        "dense1.weight": 2048 + 128,
    }.items():
        limit = (6 / fan) ** 0.5
        values = weights[name].detach()
        assert values.abs().max() <= limit
        # The standard deviation of a uniform distribution; 3 % is over four standard errors at n ≥
        # 18,432.
        assert values.std().item() == pytest.approx(limit / 3**0.5, rel=0.03)
    assert all((v == 0).all() for k, v in weights.items() if k.endswith("bias"))


def test_the_same_seed_gives_the_same_weights_and_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    choice = Network(layers=tutorial((3, 5), dense=7))
    one, two = build(choice, (12, 14, 3)), build(choice, (12, 14, 3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_may_be_oblong() -> None:
    model = build(Network(layers=tutorial((3, 5), dense=7)), (12, 17, 3), classes=4)
    assert model(torch.rand(2, 3, 12, 17)).shape == (2, 4)


def test_dropout_zeroes_its_share_scales_the_rest_and_rests_in_evaluation() -> None:
    layer = Dropout(0.25)
    inputs = torch.ones(200, 300)
    with pytest.raises(ValueError, match="needs a generator"):
        layer(inputs)
    layer.rng = Generator().manual_seed(1)
    out = layer(inputs)
    zero = (out == 0).float().mean().item()
    # Binomial with n = 60,000: five standard deviations are 0.009.
    assert zero == pytest.approx(0.25, abs=0.009)
    assert torch.allclose(out[out != 0], torch.tensor(4 / 3))
    assert torch.equal(layer.eval()(inputs), inputs)


def test_spatial_dropout_keeps_or_zeroes_whole_maps() -> None:
    layer = Dropout(0.5, whole_maps=True)
    layer.rng = Generator().manual_seed(1)
    out = layer(torch.ones(40, 50, 3, 4))
    kept = out[:, :, 0, 0] != 0
    assert torch.equal(out, kept[:, :, None, None].expand_as(out) * 2.0)
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.06)  # five deviations, n = 2,000


@pytest.mark.parametrize(
    ("widths", "pool_last", "size"), [((5, 6), True, 28), ((4, 5, 6), False, 32), ((3,), True, 9)]
)
def test_rows_left_out_reach_nothing(widths: tuple[int, ...], pool_last: bool, size: int) -> None:
    layers = tutorial(widths, pool_last=pool_last, dense=7)
    model = build(Network(layers=layers), (size, size, 2), 3)
    images_NCHW = torch.rand(2, 2, size, size)

    maps_NCHW = images_NCHW
    for i in range(len(widths)):
        maps_NCHW = torch.relu(model.get_submodule(f"conv{i + 1}")(maps_NCHW))
        if pool_last or i < len(widths) - 1:
            maps_NCHW = torch.nn.functional.max_pool2d(maps_NCHW, 2)
    dense1, dense2 = (model.get_submodule(f"dense{i}") for i in (1, 2))
    hidden_NF = torch.relu(dense1(maps_NCHW.permute(0, 2, 3, 1).flatten(1)))
    torch.testing.assert_close(model(images_NCHW), dense2(hidden_NF))


def test_the_stem_gives_every_direction_of_a_patch_unit_variance() -> None:
    model = small()
    images_NCHW = pixels()
    model.initialize_from(images_NCHW)

    weight = model.get_parameter("whiten1.weight")
    out = torch.nn.functional.conv2d(images_NCHW, weight)
    half = out.shape[1] // 2
    rows = out[:, :half].permute(0, 2, 3, 1).reshape(-1, half).double().numpy()
    second_moment = rows.T @ rows / len(rows)

    assert torch.allclose(out[:, :half], -out[:, half:])
    # Directions with a variance near or below EPSILON = 5e-4 come out smaller than one.
    diagonal = np.sort(np.diag(second_moment))[::-1]
    assert diagonal[0] == pytest.approx(1, abs=0.01)
    assert diagonal[-1] <= 1
    off = second_moment - np.diag(np.diag(second_moment))
    assert np.abs(off).max() < 1e-3


def test_answers_are_averages_over_views_and_training_sees_the_image_alone() -> None:
    names = {1: "one", 2: "mirror", 6: "mirror-and-shift"}
    models = {count: small(views=name) for count, name in names.items()}
    for model in models.values():
        model.initialize_from(pixels())
        model.eval()
    images_NCHW = pixels(3)
    with torch.no_grad():
        plain, mirror = models[1](images_NCHW), models[1](images_NCHW.flip(3))
        assert torch.allclose(models[2](images_NCHW), (plain + mirror) / 2, atol=1e-6)
        six = models[6](images_NCHW)
        assert torch.allclose(six, models[6](images_NCHW.flip(3)), atol=1e-5)
        assert not torch.allclose(six, models[2](images_NCHW), atol=1e-6)
        for model in models.values():
            model.train()
        assert torch.equal(models[6](images_NCHW), models[1](images_NCHW))


def test_shifted_views_are_the_image_moved_by_a_pixel_to_each_side() -> None:
    plain, shifted = small(), small(views="shift")
    for model in (plain, shifted):
        model.initialize_from(pixels())
        model.eval()
    images = pixels(3).numpy()
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    places = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    moved = [wide[:, :, y : y + 20, x : x + 26].copy() for y, x in places]
    with torch.no_grad():
        expected = torch.stack([plain(torch.from_numpy(view)) for view in moved]).mean(0)
        assert torch.allclose(shifted(pixels(3)), expected, atol=1e-6)


def test_views_of_a_network_that_leaves_out_rows_are_of_the_whole_image() -> None:
    """The tutorial's network uses 26 of 28 rows: its mirrored view mirrors all 28, and is then
    cut."""
    layers = tutorial((3, 5), dense=7)
    plain, mirrored = (
        build(Network(layers=layers, views=views), (28, 28, 1)).eval()
        for views in ("one", "mirror")
    )
    images_NCHW = torch.rand(4, 1, 28, 28, generator=Generator().manual_seed(5))
    expected = (plain(images_NCHW) + plain(images_NCHW.flip(3))) / 2
    torch.testing.assert_close(mirrored(images_NCHW), expected)


def test_a_dirac_convolution_starts_by_passing_its_channels_through() -> None:
    maps = torch.randn(2, 24, 6, 6, generator=Generator().manual_seed(0))
    assert torch.allclose(small().get_submodule("conv1")(maps), maps[:, :8], atol=1e-6)


def test_a_stride_quarters_the_maps_and_fewer_filters_keep_the_largest_directions() -> None:
    model = small(kernel=4, stride=2, filters=10, widths=(8,))
    model.initialize_from(pixels())
    assert model.get_submodule("whiten1")(pixels(2)).shape == (2, 10, 9, 12)

    patches = pixels().unfold(2, 4, 2).unfold(3, 4, 2).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48)
    variances = np.linalg.eigvalsh(patches.double().numpy().T @ patches.double().numpy())
    kept = model.get_parameter("whiten1.weight")[:5].reshape(5, 48).double()
    directions = (kept / kept.norm(dim=1, keepdim=True)).detach().numpy()
    along = ((patches.double().numpy() @ directions.T) ** 2).sum(0)
    np.testing.assert_allclose(along, variances[::-1][:5], rtol=1e-3)


def test_the_last_layer_sees_the_largest_value_of_each_map_or_every_place() -> None:
    # Images of 20×26 pixels: 19×25 after the stem, and 9×12, 4×6, 2×3 after the groups.
    for pool_last in (True, False):
        model = small(pool_last=pool_last, scale=0.5).eval()
        model.initialize_from(pixels())
        maps: list[torch.Tensor] = []
        model.get_submodule("activation7").register_forward_hook(
            lambda _, __, output, maps=maps: maps.append(output)
        )
        with torch.no_grad():
            logits_NK = model(pixels(6))
        (maps_NCHW,) = maps
        weight = model.get_parameter("dense1.weight").detach()
        assert maps_NCHW.shape == (6, 16, 2, 3)
        if pool_last:
            expected_NK = torch.einsum("nc,kc->nk", maps_NCHW.flatten(2).max(2).values, weight)
        else:
            weight_KHWC = weight.reshape(5, 2, 3, 16)
            expected_NK = torch.einsum("nchw,khwc->nk", maps_NCHW, weight_KHWC)
        torch.testing.assert_close(logits_NK, expected_NK * 0.5)


@pytest.mark.parametrize(("pool_last", "features"), [(True, 64), (False, 64 * 4 * 6)])
def test_the_last_layer_begins_with_the_variance_that_keeps_that_of_what_it_sees(
    pool_last: bool, features: int
) -> None:
    weight = small(pool_last=pool_last, widths=(8, 64)).get_parameter("dense1.weight").detach()
    assert weight.shape == (5, features)
    assert float(weight.std() * features**0.5) == pytest.approx(1, rel=0.2)  # 320 numbers or more


@pytest.mark.parametrize("filters", [7, 26])
def test_impossible_numbers_of_filters_are_refused(filters: int) -> None:
    with pytest.raises(UserError, match=r"layer 1 .*even and at most 24"):
        small(filters=filters)


def test_dropout_zeroes_what_the_last_layer_sees_in_training_alone() -> None:
    plain, dropping = small(), small(dropout=0.5)
    for model in (plain, dropping):
        model.initialize_from(pixels())
    layer = dropping.get_submodule("dropout1")
    assert isinstance(layer, Dropout)
    layer.rng = Generator().manual_seed(0)
    seen: list[torch.Tensor] = []
    dropping.get_submodule("dense1").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )

    dropping(pixels(8))
    share = (seen[0] == 0).float().mean().item()
    plain.load_state_dict(dropping.state_dict())  # the pass changed the batch statistics

    assert share == pytest.approx(0.5, abs=0.15)
    with torch.no_grad():
        assert torch.equal(plain.eval()(pixels(3)), dropping.eval()(pixels(3)))


def test_a_thread_that_only_needs_shapes_leaves_the_networks_of_others_alone() -> None:
    inside, built = threading.Event(), threading.Event()

    def look() -> None:
        with shapes_only():
            inside.set()
            assert built.wait(60)

    with ThreadPoolExecutor(1) as other:
        looked = other.submit(look)
        assert inside.wait(60)
        model = build(Network(layers=tutorial((8,), dense=16)), (28, 28, 1))
        built.set()
        looked.result()
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
