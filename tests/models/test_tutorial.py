"""The tutorial's network, against a plain network written out here."""

import pytest
import torch
from torch import Generator, nn

from firstlight.errors import UserError
from firstlight.models.blocks import Dropout
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.models.tutorial import TutorialCNN
from firstlight.recipe import ModelChoice, load_recipe

CASES = [("mnist-tutorial", (28, 28, 1), 121_930), ("cifar10-tutorial", (32, 32, 3), 356_810)]


def build(choice: ModelChoice, shape: tuple[int, int, int], classes: int = 10) -> nn.Module:
    return Architecture(choice=choice, image_shape=shape, classes=classes).build(
        Generator().manual_seed(3)
    )


@pytest.mark.parametrize(("name", "shape", "count"), CASES)
def test_the_tutorials_parameter_counts(name: str, shape: tuple[int, int, int], count: int) -> None:
    assert parameter_count(build(load_recipe(name).model, shape)) == count


@pytest.mark.parametrize(("name", "shape", "count"), CASES)
def test_logits_and_gradients_equal_those_of_the_network_as_the_tutorial_writes_it(
    name: str, shape: tuple[int, int, int], count: int
) -> None:
    choice = load_recipe(name).model
    ours = build(choice, shape)
    weights = dict(ours.named_parameters())
    # Convolution, then ReLU, then max-pool, contiguous memory; the dense layer's columns are
    # reordered because here features are flattened as C, H, W.
    layers: list[nn.Module] = []
    inputs = shape[2]
    for i, width in enumerate(choice.widths):
        layers += [nn.Conv2d(inputs, width, 3), nn.ReLU()]
        if i + 1 < len(choice.widths) or choice.pool_last:
            layers.append(nn.MaxPool2d(2))
        inputs = width
    side = round((weights["hidden.weight"].shape[1] / inputs) ** 0.5)
    layers += [nn.Flatten(), nn.Linear(side * side * inputs, choice.dense), nn.ReLU()]
    plain = nn.Sequential(*layers, nn.Linear(choice.dense, 10))
    with torch.no_grad():
        for theirs, mine in zip(plain.parameters(), weights.values(), strict=True):
            values = mine.data
            if theirs.dim() == 2 and theirs.shape[1] == side * side * inputs:
                values = values.view(-1, side, side, inputs).permute(0, 3, 1, 2).flatten(1)
            theirs.copy_(values)
    images = torch.rand(3, shape[2], *shape[:2], generator=Generator().manual_seed(0))
    one, other = ours(images), plain(images)
    # 1e-5: float32 sums of up to 2,048 terms taken in another order.
    assert torch.allclose(one, other, atol=1e-5)
    one.square().sum().backward()
    other.square().sum().backward()
    first = next(plain.parameters()).grad
    mine_first = weights["convolutions.0.weight"].grad
    assert first is not None and mine_first is not None
    assert torch.allclose(mine_first, first, atol=1e-4, rtol=1e-4)


def test_weights_are_glorot_uniform_and_biases_zero() -> None:
    model = build(load_recipe("cifar10-tutorial").model, (32, 32, 3))
    weights = dict(model.named_parameters())
    for name, fan in {
        "convolutions.1.weight": 9 * (32 + 64),
        "convolutions.2.weight": 9 * (64 + 128),
        "hidden.weight": 2048 + 128,
    }.items():
        limit = (6 / fan) ** 0.5
        values = weights[name].detach()
        assert values.abs().max() <= limit
        # A uniform law's standard deviation; 3 % is over four of its standard errors at n ≥ 18,432.
        assert values.std().item() == pytest.approx(limit / 3**0.5, rel=0.03)
    assert all((v == 0).all() for k, v in weights.items() if k.endswith("bias"))


def test_the_same_seed_gives_the_same_weights_and_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    choice = ModelChoice(widths=(3, 5), dense=7)
    one, two = build(choice, (12, 14, 3)), build(choice, (12, 14, 3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_may_be_oblong() -> None:
    model = build(ModelChoice(widths=(3, 5), dense=7), (12, 17, 3), classes=4)
    assert model(torch.rand(2, 3, 12, 17)).shape == (2, 4)


def test_images_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(UserError, match="8×8 pixels are too small"):
        build(ModelChoice(widths=(32, 64)), (8, 8, 1))


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


@pytest.mark.parametrize(
    ("widths", "pool_last", "size"), [((5, 6), True, 28), ((4, 5, 6), False, 32), ((3,), True, 9)]
)
def test_rows_left_out_reach_nothing(widths: tuple[int, ...], pool_last: bool, size: int) -> None:
    choice = ModelChoice(widths=widths, pool_last=pool_last, dense=7)
    model = TutorialCNN(choice, (size, size, 2), 3, Generator().manual_seed(0))
    images_NCHW = torch.rand(2, 2, size, size)

    maps_NCHW = images_NCHW
    for i, layer in enumerate(model.convolutions):
        maps_NCHW = torch.relu(layer(maps_NCHW))
        if pool_last or i < len(widths) - 1:
            maps_NCHW = torch.nn.functional.max_pool2d(maps_NCHW, 2)
    hidden_NF = torch.relu(model.hidden(maps_NCHW.permute(0, 2, 3, 1).flatten(1)))
    torch.testing.assert_close(model(images_NCHW), model.logits(hidden_NF))
