"""Layer maps compared with a forward pass written out; nearest images compared with plain NumPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.explain.networks import NETWORKS, PREPROCESS, build, images
from torch.nn.functional import conv2d, gelu, max_pool2d, relu

from firstlight.evaluate.predict import BATCH
from firstlight.explain.layers import layer_maps
from firstlight.explain.neighbours import nearest


def test_the_tutorial_s_layers_are_its_forward_pass_step_by_step() -> None:
    model, image_HWC = build("tutorial"), images(1)[0]
    weights = model.state_dict()
    x = PREPROCESS(torch.from_numpy(image_HWC[None]))[:, :, : model.rows, : model.columns]
    steps = []
    for i in (0, 1):
        x = conv2d(x, weights[f"conv{i + 1}.weight"], weights[f"conv{i + 1}.bias"])
        steps.append(("convolution", x))
        x = max_pool2d(x, 2)
        steps.append(("max-pooling", x))
        x = relu(x)
        steps.append(("ReLU", x))
    x = x.permute(0, 2, 3, 1).flatten(1)
    x = x @ weights["dense1.weight"].T + weights["dense1.bias"]
    steps += [("dense", x), ("ReLU", relu(x))]
    steps.append(("dense", relu(x) @ weights["dense2.weight"].T + weights["dense2.bias"]))

    found = layer_maps(model, PREPROCESS, image_HWC)

    assert [layer.kind.lower() for layer in found] == [kind.lower() for kind, _ in steps]
    for layer, (kind, wanted) in zip(found, steps, strict=True):
        plain = wanted[0].detach().numpy().reshape(layer.maps_Chw.shape)
        np.testing.assert_allclose(layer.maps_Chw, plain, atol=1e-5, err_msg=kind)


def test_of_a_network_with_views_the_plain_one_is_shown() -> None:
    one, six = build("whitened"), build("whitened", "mirror-and-shift")
    image_HWC = images(1)[0]
    plain, averaged = (layer_maps(model, PREPROCESS, image_HWC) for model in (one, six))

    assert [layer.name for layer in plain] == [layer.name for layer in averaged]
    for a, b in zip(plain, averaged, strict=True):
        np.testing.assert_allclose(a.maps_Chw, b.maps_Chw, atol=1e-6)
    weights = one.state_dict()
    first = conv2d(
        PREPROCESS(torch.from_numpy(image_HWC[None])),
        weights["whiten1.weight"],
        weights["whiten1.bias"],
    )
    np.testing.assert_allclose(plain[0].maps_Chw, first[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(plain[1].maps_Chw, gelu(first)[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("pool_last", [True, False])
def test_the_whitened_networks_layers_are_its_forward_pass_step_by_step(pool_last: bool) -> None:
    model, image_HWC = build("whitened", pool_last=pool_last), images(1)[0]
    weights = model.state_dict()
    pixels = PREPROCESS(torch.from_numpy(image_HWC[None]))
    x = conv2d(pixels, weights["whiten1.weight"], weights["whiten1.bias"])
    steps = [("whiten1", x), ("activation1", gelu(x))]
    for i in (0, 1):
        for half in (1, 2):
            number = 2 * i + half
            x = conv2d(steps[-1][1], weights[f"conv{number}.weight"], padding=1)
            steps.append((f"conv{number}", x))
            if half == 1:
                x = max_pool2d(x, 2)
                steps.append((f"max_pool{i + 1}", x))
            mean, variance, scale, shift = (
                weights[f"batch_norm{number}.{what}"][:, None, None]
                for what in ("running_mean", "running_var", "weight", "bias")
            )
            x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
            steps += [(f"batch_norm{number}", x), (f"activation{number + 1}", gelu(x))]
    if pool_last:
        steps.append(("global_max_pool1", steps[-1][1].amax((2, 3))))
    seen = steps[-1][1] if pool_last else steps[-1][1].permute(0, 2, 3, 1).flatten(1)
    steps.append(("dense1", seen @ weights["dense1.weight"].T))
    steps.append(("rescale1", steps[-1][1] * 0.5))

    found = layer_maps(model, PREPROCESS, image_HWC)

    assert [layer.name for layer in found] == [name for name, _ in steps]
    for layer, (name, wanted) in zip(found, steps, strict=True):
        plain = wanted[0].detach().numpy().reshape(layer.maps_Chw.shape)
        np.testing.assert_allclose(layer.maps_Chw, plain, atol=1e-5, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_layer_with_weights_is_left_out(name: str) -> None:
    model = build(name, "mirror-and-shift")
    weighted = [
        path
        for path, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]

    names = [layer.name for layer in layer_maps(model, PREPROCESS, images(1)[0])]

    assert [n for n in names if n in weighted] == weighted


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_has_a_name_of_its_own_and_a_sentence(name: str) -> None:
    model = build(name).train()
    layers = layer_maps(model, PREPROCESS, images(1)[0])

    assert model.training, "the mode comes back"
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(layer.says.endswith(".") for layer in layers)
    assert layers[-1].maps_Chw.shape == (5, 1, 1) and layers[-1].is_single_numbers


@pytest.mark.parametrize("name", NETWORKS)
def test_the_nearest_image_of_a_training_image_is_itself(name: str) -> None:
    """The others follow by the cosine of the last layer's input."""
    model, train_NHWC = build(name), images(300)
    entered: list[np.ndarray] = []
    dense = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    hook = dense.register_forward_pre_hook(lambda _, given: entered.append(given[0].numpy()))
    with torch.inference_mode():
        model(PREPROCESS(torch.from_numpy(train_NHWC)))
    hook.remove()
    features = entered[0].astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosine = features @ features[137]

    found = nearest(model, PREPROCESS, train_NHWC[137], train_NHWC)

    assert found[0].index == 137
    assert found[0].similarity == pytest.approx(1, abs=1e-5)
    order = np.argsort(-cosine, kind="stable")[: len(found)]
    np.testing.assert_allclose([n.similarity for n in found], cosine[order], atol=1e-5)


class OnDisk:
    """Images that are read in parts, and record the largest part."""

    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        self._images_NHWC, self.largest = images_NHWC, 0

    def __len__(self) -> int:
        return len(self._images_NHWC)

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        part = self._images_NHWC[rows]
        self.largest = max(self.largest, len(part))
        return part


def test_training_images_are_compared_a_batch_at_a_time() -> None:
    model, among_NHWC = build("whitened", "mirror-and-shift"), images(2 * BATCH + 7)
    told: list[tuple[int, int]] = []

    among = OnDisk(among_NHWC)
    found = nearest(
        model, PREPROCESS, among_NHWC[256], among, 3, lambda done, total: told.append((done, total))
    )

    assert among.largest == BATCH
    assert told == [(125, 257), (250, 257), (257, 257)]
    assert len(found) == 3 and found[0].index == 256
