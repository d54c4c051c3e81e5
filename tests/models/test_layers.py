"""Every layer compared with plain PyTorch, TensorFlow's padding rule, and its initial weights."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from firstlight import layers
from firstlight.errors import UserError
from firstlight.layers import Layer
from firstlight.layers.layer import Shape
from firstlight.layers.network import Network
from firstlight.models.network import Chain
from firstlight.recipe import load_recipe

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SIDES = st.integers(1, 13)
SHAPES = st.tuples(SIDES, SIDES, st.sampled_from([1, 2, 6]))


def module(layer: Layer, shape: Shape, seed: int = 0) -> nn.Module:
    return Chain((layer,), shape, Generator().manual_seed(seed))


def maps(shape: Shape, count: int = 3) -> Tensor:
    height, width, channels = shape
    values = torch.randn(count, height, width, channels, generator=Generator().manual_seed(4))
    return values.permute(0, 3, 1, 2)


def padded(maps_NCHW: Tensor, side: int, stride: int, value: float) -> Tensor:
    """TensorFlow's ``same`` padding, as described in the documentation of ``tf.nn``."""
    sides: list[int] = []
    for size in (maps_NCHW.shape[3], maps_NCHW.shape[2]):
        rest = size % stride
        total = max(side - stride, 0) if rest == 0 else max(side - rest, 0)
        sides += [total // 2, total - total // 2]
    return functional.pad(maps_NCHW, sides, value=value)


def windows(maps_NCHW: Tensor, side: int, stride: int) -> Tensor:
    """Return N×C×h×w×side×side: the pixels of each window inside the maps."""
    return maps_NCHW.unfold(2, side, stride).unfold(3, side, stride)


@QUICK
@given(
    shape=SHAPES,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    grouped=st.sampled_from(["one", "two", "depthwise"]),
    bias=st.booleans(),
    padding=st.sampled_from(["valid", "same", "half"]),
)
def test_a_convolution_is_the_sum_over_its_windows(
    shape: tuple[int, int, int],
    kernel: int,
    stride: int,
    dilation: int,
    grouped: str,
    bias: bool,
    padding: str,
) -> None:
    channels = shape[2]
    groups = {"one": 1, "two": min(2, channels), "depthwise": channels}[grouped]
    choice = layers.Conv(
        2 * channels,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=1 if grouped == "depthwise" else groups,
        depthwise=grouped == "depthwise",
        bias=bias,
        padding=padding,
    )
    reach = dilation * (kernel - 1) + 1
    if padding != "same" and min(shape[:2]) + 2 * (reach // 2) * (padding == "half") < reach:
        return
    ours = module(choice, shape)
    weights = dict(ours.named_parameters())
    assert set(weights) == {"conv1.weight"} | ({"conv1.bias"} if bias else set())
    weight = weights["conv1.weight"].detach()
    given_NCHW = maps(shape)
    if padding == "same":
        given_NCHW = padded(given_NCHW, reach, stride, 0.0)
    if padding == "half":
        given_NCHW = functional.pad(given_NCHW, [reach // 2] * 4)
    below = windows(given_NCHW, reach, stride)[..., ::dilation, ::dilation]
    below = below.reshape(3, groups, channels // groups, *below.shape[2:])
    expected = torch.einsum(
        "ngchwij,gocij->ngohw", below, weight.unflatten(0, (groups, 2 * channels // groups))
    ).flatten(1, 2)
    result = ours(maps(shape))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)
    assert choice.output(shape) == (*result.shape[2:], result.shape[1])
    with torch.no_grad():
        for name, values in weights.items():
            if name == "conv1.bias":
                assert (values == 0).all()
                values.add_(0.5)
                torch.testing.assert_close(ours(maps(shape)), result + 0.5)


@QUICK
@given(
    shape=SHAPES,
    size=st.integers(1, 5),
    stride=st.integers(0, 4),
    padding=st.sampled_from(["valid", "same"]),
)
def test_pools_take_the_largest_or_the_mean_of_the_pixels_that_are_there(
    shape: Shape, size: int, stride: int, padding: str
) -> None:
    step = stride or size
    if padding == "valid" and min(shape[:2]) < size:
        return
    given_NCHW, there = maps(shape), torch.ones(maps(shape).shape)
    lowest = given_NCHW
    if padding == "same":
        lowest = padded(given_NCHW, size, step, float("-inf"))
        given_NCHW, there = (padded(one, size, step, 0.0) for one in (given_NCHW, there))
    counts = windows(there, size, step).sum((4, 5))
    means = windows(given_NCHW, size, step).sum((4, 5)) / counts
    largest = windows(lowest, size, step).amax((4, 5))
    for kind, expected in ((layers.AveragePool, means), (layers.MaxPool, largest)):
        choice = kind(size, stride=stride, padding=padding)
        ours = module(choice, shape)
        for training in (True, False):
            result = ours.train(training)(maps(shape))
            torch.testing.assert_close(result, expected)
        assert choice.output(shape) == (*result.shape[2:], result.shape[1])


def test_tensorflows_own_example_of_same() -> None:
    """From TensorFlow's guide to padding: 13 pixels, a filter of 6 and a stride of 5 give one zero
    before, two after, and three results."""
    row = torch.arange(1.0, 14.0).expand(1, 1, 13, 13)
    conv = module(layers.Conv(1, kernel=6, stride=5, padding="same"), (13, 13, 1))
    with torch.no_grad():
        dict(conv.named_parameters())["conv1.weight"].zero_()[0, 0, 1] = 1.0
    sums = [sum(range(1, 6)), sum(range(5, 11)), sum(range(10, 14))]
    assert conv(row)[0, 0, 1].tolist() == sums


@pytest.mark.parametrize("stride", [2, 3])
def test_same_layers_take_images_of_other_sizes_than_they_were_built_for(stride: int) -> None:
    """Such as the smaller images at the beginning of a training."""
    block = layers.Residual([layers.Conv(4, stride=stride, padding="same")])  # type: ignore[arg-type]
    pools = (
        layers.MaxPool(3, stride=stride, padding="same"),
        layers.AveragePool(2, stride=stride, padding="same"),
    )
    for layer in (block, *pools):
        for built in (12, 13):
            ours = module(layer, (built, built, 2), seed=1)
            for side in (9, 10, 11):
                again = module(layer, (side, side, 2), seed=1)
                torch.testing.assert_close(
                    ours(maps((side, side, 2))), again(maps((side, side, 2)))
                )


PLAIN: list[tuple[Layer, Any]] = [
    (layers.Activation("relu"), nn.ReLU()),
    (layers.Activation("leaky-relu"), nn.LeakyReLU(0.01)),
    (layers.Activation("relu6"), nn.ReLU6()),
    (layers.Activation("elu"), nn.ELU()),
    (layers.Activation("gelu"), nn.GELU()),
    (layers.Activation("silu"), nn.SiLU()),
    (layers.Activation("hard-swish"), nn.Hardswish()),
    (layers.Activation("sigmoid"), nn.Sigmoid()),
    (layers.Activation("tanh"), nn.Tanh()),
    (layers.GlobalMaxPool(), nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())),
    (layers.GlobalAveragePool(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    (layers.BatchNorm(momentum=0.3, epsilon=0.01), nn.BatchNorm2d(6, eps=0.01, momentum=0.3)),
    (layers.GroupNorm(3, epsilon=0.01), nn.GroupNorm(3, 6, eps=0.01)),
    (layers.Rescale(0.25, offset=-1.0), lambda x: 0.25 * x - 1),
    (layers.Flatten(), lambda x: x.permute(0, 2, 3, 1).flatten(1)),
]


@pytest.mark.parametrize(("layer", "theirs"), PLAIN, ids=[repr(one) for one, _ in PLAIN])
def test_layers_without_filters_are_pytorchs(layer: Layer, theirs: Any) -> None:
    for shape in ((5, 9, 6), (1, 1, 6), (8, 3, 6)):
        ours, given_NCHW = module(layer, shape), maps(shape)
        before = given_NCHW.clone()
        if isinstance(theirs, nn.BatchNorm2d):
            theirs.reset_running_stats()
        for training in (True, True, False):
            ours.train(training)
            if isinstance(theirs, nn.Module):
                theirs.train(training)
            torch.testing.assert_close(ours(given_NCHW), theirs(given_NCHW), atol=1e-6, rtol=1e-5)
        assert torch.equal(given_NCHW, before)
        height, width, channels = shape
        count = 1 if len(layer.output(shape)) == 1 else height * width
        assert np.prod(layer.output(shape)) == ours(given_NCHW)[0].numel(), (count, channels)


def test_a_square_root_has_a_finite_gradient_at_zero_and_takes_what_is_below_as_zero() -> None:
    given_NF = torch.tensor([[-4.0, 0.0, 2.25, 100.0]], requires_grad=True)
    root_NF = module(layers.SquareRoot(epsilon=0.01), (4,))(given_NF)
    torch.testing.assert_close(root_NF, torch.tensor([[0.1, 0.1, 2.26**0.5, 100.01**0.5]]))
    root_NF.sum().backward()
    assert given_NF.grad is not None
    wanted = torch.tensor([[0.0, 0.0, 0.5 / 2.26**0.5, 0.5 / 100.01**0.5]])
    torch.testing.assert_close(given_NF.grad, wanted)


@pytest.mark.parametrize(("shape", "side"), [((7, 9, 3), 16), ((20, 13, 1), 8), ((8, 8, 3), 8)])
def test_resize_is_pillows_bicubic(shape: Shape, side: int) -> None:
    given_NCHW = maps(shape)
    ours = module(layers.Resize(side), shape)(given_NCHW)
    pictures = [Image.fromarray(map_HW.numpy()) for map_HW in given_NCHW.flatten(0, 1)]
    theirs = [np.asarray(one.resize((side, side), Image.Resampling.BICUBIC)) for one in pictures]
    assert layers.Resize(side).output(shape) == (side, side, shape[2])
    np.testing.assert_allclose(ours.flatten(0, 1), np.array(theirs), atol=1e-5)


def test_resize_makes_three_channels_of_grey_and_refuses_others() -> None:
    grey_NCHW = maps((5, 5, 1))
    layer = layers.Resize(9, channels=3)
    assert layer.output((5, 5, 1)) == (9, 9, 3)
    colour = module(layer, (5, 5, 1))(grey_NCHW)
    plain = module(layers.Resize(9), (5, 5, 1))(grey_NCHW)
    torch.testing.assert_close(colour, plain.repeat(1, 3, 1, 1))
    with pytest.raises(UserError, match="turns 1 channel into 3, but its input has 2"):
        layer.output((5, 5, 2))
    with pytest.raises(UserError, match="channels must be 0 or 3, not 2"):
        layers.Resize(9, channels=2)


def test_layer_norm_is_over_the_channels_of_a_place_or_over_all_features() -> None:
    given_NCHW = maps((5, 7, 6))
    mean, variance = given_NCHW.mean(1, keepdim=True), given_NCHW.var(1, keepdim=True, correction=0)
    ours = module(layers.LayerNorm(epsilon=0.01), (5, 7, 6))
    torch.testing.assert_close(ours(given_NCHW), (given_NCHW - mean) / (variance + 0.01).sqrt())
    features_NF = torch.randn(4, 11)
    torch.testing.assert_close(
        module(layers.LayerNorm(), (11,))(features_NF), functional.layer_norm(features_NF, (11,))
    )


def test_norms_of_features_and_a_dense_layer_are_pytorchs() -> None:
    features_NF = torch.randn(8, 11, generator=Generator().manual_seed(1))
    torch.testing.assert_close(
        module(layers.BatchNorm(), (11,))(features_NF), nn.BatchNorm1d(11)(features_NF)
    )
    dense = module(layers.Dense(5), (11,))
    weight, bias = (values.detach() for values in dense.parameters())
    torch.testing.assert_close(dense(features_NF), features_NF @ weight.T + bias)
    with pytest.raises(AssertionError):  # expected without its weights
        torch.testing.assert_close(dense(features_NF), features_NF[:, :5])


def test_squeeze_and_excitation_weighs_each_map_by_what_is_in_all() -> None:
    """Hu et al. 2018, equations 2 to 4."""
    shape, given_NCHW = (5, 7, 6), maps((5, 7, 6))
    ours = module(layers.SqueezeExcite(3), shape)
    first, begin, second, end = (values.detach() for values in ours.parameters())
    assert first.shape == (2, 6) and second.shape == (6, 2)
    units = (given_NCHW.mean((2, 3)) @ first.T + begin).clamp(min=0)
    weights = 1 / (1 + (-(units @ second.T + end)).exp())
    torch.testing.assert_close(ours(given_NCHW), given_NCHW * weights[..., None, None])
    assert layers.SqueezeExcite(3).multiply_adds(shape) == 2 * 6 * 2


def test_tokens_are_the_places_row_by_row_behind_the_class_token() -> None:
    shape, given_NCHW = (2, 3, 4), maps((2, 3, 4))
    chain = Chain((layers.Tokens(),), shape, Generator().manual_seed(0))
    with torch.no_grad():
        chain.get_parameter("tokens1.class_token").copy_(torch.tensor([1.0, 2, 3, 4]))
    positions_TF = chain.get_parameter("tokens1.positions").detach()
    assert positions_TF.shape == layers.Tokens().output(shape) == (7, 4)
    assert 0.01 < positions_TF.std() < 0.03
    tokens_NTF = chain(given_NCHW) - positions_TF
    torch.testing.assert_close(tokens_NTF[:, 0], torch.tensor([[1.0, 2, 3, 4]] * 3))
    for row in range(2):
        for column in range(3):
            place = tokens_NTF[:, 1 + 3 * row + column]
            torch.testing.assert_close(place, given_NCHW[:, :, row, column])
    first = Chain((layers.Tokens(), layers.ClassToken()), shape, Generator().manual_seed(0))
    torch.testing.assert_close(first(given_NCHW), positions_TF[:1].expand(3, 4))


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_pytorchs_of_the_same_weights(heads: int) -> None:
    tokens_NTF = torch.randn(2, 5, 12, generator=Generator().manual_seed(3))
    choice = layers.Attention(heads)
    ours = module(choice, (5, 12))
    weights = {name.removeprefix("attention1."): w for name, w in ours.named_parameters()}
    with torch.no_grad():
        for values in weights.values():
            values.add_(0.1 * torch.randn(values.shape, generator=Generator().manual_seed(5)))
    theirs = nn.MultiheadAttention(12, heads, batch_first=True)
    joined = {
        f"in_proj_{kind}": torch.cat(
            [weights[f"{name}.{kind}"] for name in ("query", "key", "value")]
        )
        for kind in ("weight", "bias")
    }
    last = {f"out_proj.{kind}": weights[f"output.{kind}"] for kind in ("weight", "bias")}
    theirs.load_state_dict({**joined, **last})
    torch.testing.assert_close(ours(tokens_NTF), theirs(tokens_NTF, tokens_NTF, tokens_NTF)[0])
    assert choice.multiply_adds((5, 12)) == 4 * 5 * 12 * 12 + 2 * 5 * 5 * 12


def test_dense_and_norm_take_each_token_by_itself_and_flatten_puts_them_in_a_row() -> None:
    tokens_NTF = torch.randn(2, 5, 12, generator=Generator().manual_seed(3))
    dense = module(layers.Dense(7, activation="tanh"), (5, 12))
    norm = module(layers.LayerNorm(), (5, 12))
    for at in range(5):
        torch.testing.assert_close(dense(tokens_NTF)[:, at], dense(tokens_NTF[:, at]))
        torch.testing.assert_close(norm(tokens_NTF)[:, at], norm(tokens_NTF[:, at]))
    assert layers.Dense(7).output((5, 12)) == (5, 7)
    assert layers.Dense(7).multiply_adds((5, 12)) == 5 * 12 * 7
    rows = module(layers.Flatten(), (5, 12))(tokens_NTF)
    assert torch.equal(rows, tokens_NTF.reshape(2, 60)) and layers.Flatten().output((5, 12)) == (
        60,
    )
    joined = layers.Branches([[layers.Dense(3)], []])  # type: ignore[arg-type]
    assert module(joined, (5, 12))(tokens_NTF).shape == (2, *joined.output((5, 12))) == (2, 5, 15)


def test_a_network_of_tokens_takes_one_size_and_is_summed_up_and_drawn() -> None:
    """The position embedding has one row per position."""
    block = layers.Residual((layers.LayerNorm(), layers.Attention(2)), activation="none")
    stem = (layers.Conv(8, kernel=4, stride=4), layers.Tokens(), block, layers.ClassToken())
    network = Network(layers=(*stem, layers.Dense("classes")))
    assert not network.any_size
    assert Network(layers=(stem[0], layers.GlobalMaxPool(), layers.Dense("classes"))).any_size
    summary = network.summary((12, 8, 3), 5)
    assert [row.output for row in summary.rows] == [
        *((3, 2, 8), (7, 8), (7, 8), (7, 8), (7, 8), (7, 8), (8,), (5,)),
    ]
    attention = 4 * (8 * 8 + 8)
    assert summary.trained == 4 * 4 * 3 * 8 + 8 + 7 * 8 + 8 + 16 + attention + 8 * 5 + 5
    assert [row.sees for row in summary.rows[:2]] == [4, 4] and summary.rows[-1].sees == 0
    assert "7 tokens of 8  attention1" in network.diagram((12, 8, 3), 5)


def test_layer_scale_multiplies_each_channel_or_feature() -> None:
    given_NCHW, tokens_NTF = maps((5, 7, 6)), torch.randn(2, 5, 6)
    for shape, came in (((5, 7, 6), given_NCHW), ((5, 6), tokens_NTF), ((6,), tokens_NTF[:, 0])):
        ours = module(layers.LayerScale(0.5), shape)
        (scale,) = ours.parameters()
        assert scale.shape == (6,)
        torch.testing.assert_close(ours(came), 0.5 * came)
        with torch.no_grad():
            scale[2] = 3.0
        channel = 1 if came.dim() == 4 else -1
        got, third = (one.select(channel, 2) for one in (ours(came), came))
        torch.testing.assert_close(got, 3 * third)


@QUICK
@given(shape=SHAPES, stride=st.integers(1, 3), filters=st.sampled_from([2, 6]), norm=st.booleans())
def test_a_residual_block_adds_what_came_in_or_its_projection(
    shape: Shape, stride: int, filters: int, norm: bool
) -> None:
    inside: list[Layer] = [layers.Conv(filters, stride=stride, padding="same")]
    if norm:
        inside.append(layers.BatchNorm())
    choice = layers.Residual(inside)  # type: ignore[arg-type]
    ours, given_NCHW = module(choice, shape).eval(), maps(shape)
    weights = ours.state_dict()
    own = functional.conv2d(
        padded(given_NCHW, 3, stride, 0.0),
        weights["residual1.layers.conv1.weight"],
        weights["residual1.layers.conv1.bias"],
        stride,
    )
    short = given_NCHW
    if choice.output(shape) != shape:
        weight = weights["residual1.shortcut.conv1.weight"]
        assert weight.shape == (filters, shape[2], 1, 1)
        assert "residual1.shortcut.conv1.bias" not in weights
        short = functional.conv2d(given_NCHW[:, :, ::stride, ::stride], weight)
        if norm:  # running means are 0 and variances 1 before the first step
            short = short / (1 + 1e-5) ** 0.5
    if norm:
        own = own / (1 + 1e-5) ** 0.5
    expected = (own + short).relu()
    torch.testing.assert_close(ours(given_NCHW), expected, atol=1e-5, rtol=1e-4)
    assert choice.output(shape) == (*expected.shape[2:], expected.shape[1])
    assert torch.equal(given_NCHW, maps(shape)), "what came in is left as it was"


def test_branches_stand_side_by_side_or_are_added_and_a_repeat_has_weights_of_its_own() -> None:
    first, second = layers.Conv(4, padding="same"), layers.Conv(4, kernel=1)
    given_NCHW = maps((5, 8, 4))
    for join in ("concatenate", "add"):
        choice = layers.Branches([[first], [second], []], join=join)  # type: ignore[arg-type]
        ours = module(choice, (5, 8, 4))
        parts = [
            ours.get_submodule(f"branches1.branch{number}")(given_NCHW) for number in (1, 2, 3)
        ]
        assert torch.equal(parts[2], given_NCHW)
        expected = torch.cat(parts, 1) if join == "concatenate" else parts[0] + parts[1] + parts[2]
        torch.testing.assert_close(ours(given_NCHW), expected)
        assert choice.output((5, 8, 4)) == (5, 8, expected.shape[1])
    chain = module(layers.Repeat(3, layers=(first, layers.Activation("tanh"))), (5, 8, 4))
    expected = given_NCHW
    for number in (1, 2, 3):
        expected = chain.get_submodule(f"conv{number}")(expected).tanh()
    torch.testing.assert_close(chain(given_NCHW), expected)
    weights = [values for name, values in chain.named_parameters() if name.endswith("weight")]
    assert len(weights) == 3 and not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("after", [layers.MaxPool(2), layers.MaxPool(3, stride=1, padding="same")])
@pytest.mark.parametrize("name", ["relu", "leaky-relu", "relu6", "tanh", "gelu"])
def test_a_pool_in_front_of_an_activation_changes_no_bit(name: str, after: Layer) -> None:
    shape, steps = (6, 9, 4), (layers.Conv(4), layers.Activation(name), after)
    chain = Chain(steps, shape, Generator().manual_seed(1))
    given_NCHW = maps(shape)
    expected = given_NCHW
    for layer in ("conv1", "activation1", "max_pool1"):
        expected = chain.get_submodule(layer)(expected.clone())
    assert torch.equal(chain(given_NCHW), expected)


def weights_of(init: str, layer: Layer | None = None, shape: Shape = (9, 9, 64)) -> Tensor:
    chain = module(layer or layers.Conv(96, kernel=5, init=init), shape)
    return next(chain.parameters()).detach()


@pytest.mark.parametrize(
    ("init", "deviation", "limit"),
    [
        ("glorot", (2 / (25 * (64 + 96))) ** 0.5, (6 / (25 * (64 + 96))) ** 0.5),
        ("he", (2 / (25 * 64)) ** 0.5, None),
        ("lecun", (1 / (25 * 64)) ** 0.5, None),
    ],
)
def test_first_weights_have_the_papers_deviation(
    init: str, deviation: float, limit: float | None
) -> None:
    values = weights_of(init)  # 153,600 numbers: 1 % is five standard errors
    assert values.std().item() == pytest.approx(deviation, rel=0.01)
    assert values.mean().item() == pytest.approx(0, abs=0.02 * deviation)
    kurtosis = float((values**4).mean() / (values**2).mean() ** 2)
    assert kurtosis == pytest.approx(3.0 if limit is None else 1.8, rel=0.05)
    if limit is not None:
        assert 0.99 * limit < values.abs().max().item() <= limit
    dense = weights_of(init, layers.Dense(300, init=init), (500,))
    scale = {"glorot": 2 / 800, "he": 2 / 500, "lecun": 1 / 500}[init]
    assert dense.std().item() == pytest.approx(scale**0.5, rel=0.01)


def test_orthogonal_filters_and_zeros() -> None:
    rows = weights_of("orthogonal").reshape(96, -1).double()
    torch.testing.assert_close(rows @ rows.T, torch.eye(96).double(), atol=1e-5, rtol=0)
    tall = weights_of("orthogonal", layers.Dense(50, init="orthogonal"), (20,)).double()
    torch.testing.assert_close(tall.T @ tall, torch.eye(20).double(), atol=1e-5, rtol=0)
    assert (weights_of("zeros") == 0).all()


@pytest.mark.parametrize(
    "conv",
    [
        layers.Conv(9, padding="same", init="dirac"),
        layers.Conv(6, padding="same", init="dirac", kernel=2),
        layers.Conv(6, padding="same", init="dirac", kernel=4),
        layers.Conv(6, padding="same", init="dirac", depthwise=True),
        layers.Conv(6, padding="same", init="dirac", groups=3),
        layers.Conv(4, padding="same", init="dirac", groups=2),
    ],
    ids=repr,
)
def test_the_first_filters_of_each_group_begin_by_passing_their_channel(conv: layers.Conv) -> None:
    shape, given_NCHW = (7, 8, 6), maps((7, 8, 6))
    groups = conv.grouped(6)
    result = module(conv, shape)(given_NCHW).unflatten(1, (groups, -1))
    inputs = given_NCHW.unflatten(1, (groups, -1))
    count = min(result.shape[2], inputs.shape[2])
    torch.testing.assert_close(result[:, :, :count], inputs[:, :, :count])


def test_a_layer_added_at_the_end_leaves_the_first_weights_of_the_earlier_ones() -> None:
    """As a list and inside a network, for every initialization."""
    stem: list[Layer] = [
        layers.Conv(6, init=init, padding="same")
        for init in ("glorot", "he", "orthogonal", "dirac")
    ]
    stem += [layers.Residual([layers.Conv(8, padding="same")])]  # type: ignore[arg-type]
    more: list[Layer] = [layers.BatchNorm(), layers.Dropout(0.1), layers.Conv(3), layers.MaxPool(2)]
    short, long = (
        Chain(some, (9, 9, 2), Generator().manual_seed(5)).state_dict()
        for some in (stem, [*stem, *more])
    )
    assert set(short) < set(long)
    for name, values in short.items():
        assert torch.equal(values, long[name]), name


def test_resnet_20_begins_as_its_paper_counts_it() -> None:
    """0.27 million parameters (He et al. 2016, table 6), a few of them in projections."""
    network = load_recipe("cifar10-resnet20").network
    chain = Chain([one.with_classes(10) for one in network.layers], (32, 32, 3), Generator())
    assert 0.265e6 < sum(p.numel() for p in chain.parameters()) < 0.28e6


def test_numpy_says_the_same_of_a_whole_small_network() -> None:
    """Two layers and their memory order, computed by hand."""
    chain = Chain(
        (layers.Conv(2, kernel=2), layers.Flatten(), layers.Dense(3)),
        (3, 4, 1),
        Generator().manual_seed(2),
    )
    image: NDArray[Any] = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    weight, _, dense, _ = (values.detach().numpy() for values in chain.parameters())
    found = [
        (image[y : y + 2, x : x + 2] * weight[f, 0]).sum()
        for y in range(2)
        for x in range(3)
        for f in range(2)
    ]
    result = chain(torch.from_numpy(image)[None, None]).detach().numpy()[0]
    np.testing.assert_allclose(result, dense @ np.array(found), rtol=1e-5)
