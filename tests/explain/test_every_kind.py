"""Explanations and pages with every kind of layer, and with the user's own modules."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.explain.networks import PREPROCESS, SHAPE, images
from torch import Generator, Tensor, nn

from firstlight import layers as la
from firstlight.explain.attribution import grad_cam
from firstlight.explain.layers import layer_maps
from firstlight.explain.maps import map_source
from firstlight.explain.neighbours import nearest
from firstlight.layers.activation import ACTIVATIONS
from firstlight.layers.network import Network
from firstlight.models.catalog import Architecture
from firstlight.models.network import NetworkModule

IMAGE = images(1)[0]
BLOCK = la.Residual((la.Conv(8, stride=2, padding="same", bias=False), la.BatchNorm()))
TOKENS = (la.Tokens(), la.Attention(2), la.ClassToken())
EVERY = (
    *(la.Whiten(8), la.Conv(8, activation="leaky-relu"), la.GroupNorm(4), la.LayerNorm()),
    *(la.AveragePool(2), la.SpatialDropout(0.1), la.Branches(((la.Conv(4, kernel=1),), ()))),
    *(la.Repeat(2, (la.Activation("silu"),)), BLOCK, la.SqueezeExcite(4), la.Conv(6, kernel=1)),
    *(la.LayerScale(0.5), la.Branches(((la.MaxPool(2), la.GlobalAveragePool()), TOKENS))),
    *(la.Activation("gelu"), la.Dropout(0.1), la.Rescale(2.0)),
    *(la.Dense(6, activation="tanh"), la.LayerNorm(), la.SquareRoot(), la.Dense("classes")),
)


def build(*layers: la.Layer, views: str = "one") -> nn.Module:
    network = Network(layers=layers, views=views)
    model = Architecture(network=network, image_shape=SHAPE, classes=5).build(
        Generator().manual_seed(1)
    )
    assert isinstance(model, NetworkModule)
    model.initialize_from(PREPROCESS(torch.from_numpy(images(30))))
    return model.eval()


def kept(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
    """Return the outputs of the modules, copied at once by our own hooks."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: object, result: Tensor) -> None:
            found.setdefault(name, result.clone())

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        model(PREPROCESS(torch.from_numpy(IMAGE[None])))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("views", ["one", "mirror-and-shift"])
def test_every_layer_of_every_kind_is_shown_with_its_own_maps(views: str) -> None:
    model = build(*EVERY, views=views)
    found = layer_maps(model, PREPROCESS, IMAGE)

    kinds = [layer.kind for layer in found]
    for word in (
        *("whitening convolution", "leaky ReLU", "group norm", "layer norm", "average pooling"),
        *("spatial dropout", "branches", "SiLU", "residual block", "batch norm", "max-pooling"),
        *("squeeze-and-excitation", "layer scale", "tokens", "self-attention", "class token"),
        *("GELU", "global average pooling", "dropout", "rescale", "tanh", "dense", "ReLU"),
    ):
        assert word in kinds, word
    assert all(layer.says.endswith(".") for layer in found)
    assert found[-1].name == "dense2" and found[-1].maps_Chw.shape == (5, 1, 1)
    names = [layer.name for layer in found]
    assert len(set(names)) == len(names)
    assert names.index("residual1.layers.conv1") < names.index("residual1.shortcut.conv1")
    for layer in found:
        plain = kept(model, names)[layer.name][0].numpy()
        if plain.ndim == 2:  # tokens: the class token, then the positions row by row
            plain = plain[1:].T
        np.testing.assert_array_equal(layer.maps_Chw, plain.reshape(layer.maps_Chw.shape))


@pytest.mark.parametrize("kind", sorted(la.LAYERS))
def test_each_kind_of_layer_says_what_it_does(kind: str) -> None:
    layer = la.LAYERS[kind]
    some = la.Activation() if kind == "activation" else None
    says = some.says() if some is not None else layer.does
    assert says.endswith(".") or kind == "repeat", "a repeat is written out"
    assert layer.title


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_in_front_of_which_all_is_kept(name: str) -> None:
    """Includes ReLU, which overwrites its input."""
    model = build(la.Conv(4), la.Activation(name), la.Flatten(), la.Dense("classes"))
    conv, bent, *_ = layer_maps(model, PREPROCESS, IMAGE)

    with torch.no_grad():
        wanted = model.get_submodule("conv1")(PREPROCESS(torch.from_numpy(IMAGE[None])))[0]
    np.testing.assert_array_equal(conv.maps_Chw, wanted.numpy())
    assert (conv.maps_Chw < 0).any() and bent.kind.lower() == name.replace("-", " ")
    assert (bent.says != conv.says) and not np.array_equal(conv.maps_Chw, bent.maps_Chw)


class Own(nn.Module):
    """A user's own network: one module used twice, functions, an in-place activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.bend = nn.ReLU(inplace=True)
        self.second = Scaled()
        self.gap = nn.Identity()
        self.last = nn.Linear(6, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.bend(self.second(self.bend(self.first(pixels))))
        scores: Tensor = self.last(self.gap(maps.mean((2, 3))))
        return scores


class Scaled(nn.Module):
    """Has its own weights, and a module inside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6, 1, 1) * 2)
        self.conv = nn.Conv2d(6, 6, 3)

    def forward(self, maps: Tensor) -> Tensor:
        scaled: Tensor = self.scale * self.conv(maps)
        return scaled


def test_modules_of_one_s_own_have_their_class_names_and_each_use_is_shown() -> None:
    torch.manual_seed(0)
    model = Own().eval()
    found = layer_maps(model, PREPROCESS, IMAGE)

    assert [(layer.name, layer.kind, layer.says) for layer in found] == [
        ("first", "Conv2d", ""),
        ("bend", "ReLU", ""),
        ("second.conv", "Conv2d", ""),
        ("second", "Scaled", ""),
        ("bend (2)", "ReLU", ""),
        ("last", "Linear", ""),
    ]
    first = model.first(PREPROCESS(torch.from_numpy(IMAGE[None])))[0].detach().numpy()
    np.testing.assert_allclose(found[0].maps_Chw, first, atol=1e-5)
    assert (first < 0).any(), "the ReLU that writes in place has left it alone"
    source = map_source(model, PREPROCESS, IMAGE, 0, 2)
    assert source.filter_Ikk is not None
    np.testing.assert_array_equal(source.filter_Ikk, model.first.weight[2].detach().numpy())
    assert grad_cam(model, PREPROCESS, IMAGE, 1).cells == found[4].maps_Chw.shape[1:]


class Places(nn.Module):
    """Does not return numbers for each image: integers, one number, several tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Gives(at) for at in range(3)])

    def forward(self, pixels: Tensor) -> None:
        for part in self.parts:
            part(pixels)


class Gives(nn.Module):
    def __init__(self, what: int) -> None:
        super().__init__()
        self.what = what

    def forward(self, pixels: Tensor) -> object:
        return (pixels.argmax(1), pixels.mean(), (pixels, pixels))[self.what]


class Functional(nn.Module):
    """Uses only functions, with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3, generator=Generator().manual_seed(0)))

        self.places = Places()

    def forward(self, pixels: Tensor) -> Tensor:
        self.places(pixels)
        return pixels.mean((2, 3)) @ self.weight.T


def test_a_network_without_parts_shows_its_scores() -> None:
    model = Functional()
    (only,) = layer_maps(model, PREPROCESS, IMAGE)
    assert (only.name, only.kind, only.maps_Chw.shape) == ("scores", "Functional", (5, 1, 1))
    found = nearest(model, PREPROCESS, images(8)[3], images(8), 2)
    assert found[0].index == 3 and found[0].similarity == pytest.approx(1, abs=1e-5)


def test_a_network_without_maps_is_explained_without_regions() -> None:
    cam = grad_cam(build(la.Flatten(), la.Dense("classes")), PREPROCESS, IMAGE, 0)
    assert cam.cells == (0, 0) and not cam.values_HW.any()
    cam = grad_cam(build(la.Conv(4), la.Flatten(), la.Dense("classes")), PREPROCESS, IMAGE, 0)
    assert cam.cells == (18, 24), "without an activation, those of the convolution"


def test_maps_in_front_of_self_attention_are_no_regions() -> None:
    patches = la.Conv(8, kernel=4, stride=4)
    model = build(patches, la.Activation("gelu"), *TOKENS, la.Dense("classes"))
    cam = grad_cam(model, PREPROCESS, IMAGE, 0)
    assert cam.cells == (0, 0) and not cam.values_HW.any()


def test_the_filter_of_a_padded_or_depthwise_convolution_is_its_own() -> None:
    padded = la.Conv(8, kernel=2, padding="same")  # one zero more on one side than on the other
    model = build(padded, la.Conv(8, depthwise=True), la.Flatten(), la.Dense("classes"))

    first, second = (map_source(model, PREPROCESS, IMAGE, at, 3).filter_Ikk for at in (0, 1))
    assert first is not None and first.shape == (3, 2, 2)
    assert second is not None and second.shape == (1, 3, 3)
    np.testing.assert_array_equal(second, model.state_dict()["conv2.weight"][3].numpy())


def test_other_threads_answers_are_not_taken_for_the_picture_s() -> None:
    """A service uses the same modules for other answers while one is inspected."""
    model = build(la.Conv(4, activation="relu"), la.Flatten(), la.Dense("classes"))
    first = model.get_submodule("conv1")
    alone = layer_maps(model, PREPROCESS, IMAGE)
    others: list[threading.Thread] = []

    def disturb(_m: nn.Module, _i: object) -> None:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=lambda: first(torch.zeros(1, 3, *SHAPE[:2])))
            other.start()
            other.join()
            others.append(other)

    hook = model.get_submodule("activation1").register_forward_pre_hook(disturb)
    found = layer_maps(model, PREPROCESS, IMAGE)
    hook.remove()

    assert others and [layer.name for layer in found] == [layer.name for layer in alone]
    np.testing.assert_array_equal(found[0].maps_Chw, alone[0].maps_Chw)
