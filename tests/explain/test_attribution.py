"""Attributions of networks with answers known by hand, and comparison with Captum's Grad-CAM."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tests.explain.networks import NETWORKS, PREPROCESS, build, images
from tests.kit import striped, whitened_net
from torch import Generator, nn

import firstlight as fl
from firstlight.explain.attribution import grad_cam, ground, integrated_gradients, occlusion
from firstlight.pixels import Preprocess
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import open_run_folder

GREY = Preprocess(height=9, width=11, channels=1, mean=(0.1,), std=(0.5,), light_on_dark=True)
COLOUR = Preprocess(height=9, width=11, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


def picture(preprocess: Preprocess, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, preprocess.image_shape, dtype=np.uint8)


def linear(preprocess: Preprocess) -> tuple[nn.Module, NDArray[np.float64]]:
    """Return a network without hidden layers, and the weights C×H×W of its class 1."""
    dense = nn.Linear(math.prod(preprocess.image_shape), 3)
    nn.init.normal_(dense.weight, generator=Generator().manual_seed(2))
    shape = (preprocess.channels, preprocess.height, preprocess.width)
    weights_CHW = dense.weight[1].detach().double().numpy().reshape(shape)
    return nn.Sequential(nn.Flatten(), dense), weights_CHW


def by_hand(image_HWC: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.float64]:
    """Return the model's input C×H×W, computed without the library's preprocessing."""
    return ((image_HWC / 255 - preprocess.mean) / preprocess.std).transpose(2, 0, 1)


def test_the_ground_is_black_for_light_strokes_and_the_mean_colour_for_photographs() -> None:
    image_HWC = np.zeros((9, 11, 3), np.uint8)
    image_HWC[:, :, 0], image_HWC[0, :, 1], image_HWC[0, 0, 2] = 40, 90, 99

    assert (ground(GREY, picture(GREY)) == 0).all()
    assert (ground(COLOUR, image_HWC) == (40, 10, 1)).all()


@pytest.mark.parametrize("preprocess", [GREY, COLOUR])
def test_integrated_gradients_of_a_linear_network_are_weight_times_difference(
    preprocess: Preprocess,
) -> None:
    model, weights_CHW = linear(preprocess)
    image_HWC = picture(preprocess)
    empty_HWC = np.full_like(image_HWC, 0)
    if not preprocess.light_on_dark:
        empty_HWC[:] = np.round(image_HWC.mean(axis=(0, 1)))
    parts_CHW = weights_CHW * (by_hand(image_HWC, preprocess) - by_hand(empty_HWC, preprocess))

    found = integrated_gradients(model, preprocess, image_HWC, 1)

    # float32 sums of 64 steps.
    np.testing.assert_allclose(found.values_HW, parts_CHW.sum(axis=0), atol=1e-4)
    assert found.difference == pytest.approx(parts_CHW.sum(), rel=1e-4)
    assert found.gap < 1e-4 and found.steps == 64


def test_an_empty_image_differs_in_nothing_from_the_ground() -> None:
    model, _ = linear(GREY)
    found = integrated_gradients(model, GREY, np.zeros((9, 11, 1), np.uint8), 1)

    assert not found.values_HW.any()
    assert (found.difference, found.gap) == (0.0, 0.0)


def test_steps_are_added_until_the_sum_is_near_enough() -> None:
    class Kinked(nn.Module):
        """A score that jumps near the end of the path, where few steps fall."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
            total_N = pixels_NCHW.flatten(1).mean(1, keepdim=True) * self.weight
            return torch.cat([total_N, 20 * torch.relu(total_N - 0.95)], dim=1)

    plain = Preprocess(height=4, width=6, channels=1, mean=(0.0,), std=(1.0,), light_on_dark=True)
    white_HWC = np.full((4, 6, 1), 255, np.uint8)

    rough = integrated_gradients(Kinked(), plain, white_HWC, 1, gap=1.5)
    exact = integrated_gradients(Kinked(), plain, white_HWC, 1)

    assert rough.steps == 64 < exact.steps
    assert exact.gap < 0.01 < rough.gap


def test_occlusion_of_a_linear_network_is_what_the_covered_pixels_add() -> None:
    model, weights_CHW = linear(COLOUR)
    image_HWC = picture(COLOUR)
    empty_HWC = np.broadcast_to(np.round(image_HWC.mean(axis=(0, 1))), image_HWC.shape)
    parts_HW = (weights_CHW * (by_hand(image_HWC, COLOUR) - by_hand(empty_HWC, COLOUR))).sum(0)
    # 9×11 pixels: patches of 2×2, one pixel apart.
    total_HW, count_HW = np.zeros((9, 11)), np.zeros((9, 11))
    for y in range(8):
        for x in range(10):
            total_HW[y : y + 2, x : x + 2] += parts_HW[y : y + 2, x : x + 2].sum()
            count_HW[y : y + 2, x : x + 2] += 1

    found = occlusion(model, COLOUR, image_HWC, 1)

    assert found.patch == 2
    np.testing.assert_allclose(found.values_HW, total_HW / count_HW, atol=1e-4)


def cornered() -> tuple[nn.Module, Preprocess, NDArray[np.uint8]]:
    """Return a network that uses only red in the upper left corner, and an image that is red there
    and green and blue elsewhere."""
    preprocess = Preprocess(height=15, width=20, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    maps, dense = nn.Conv2d(3, 2, 1), nn.Linear(600, 2)
    model = nn.Sequential(maps, nn.ReLU(), nn.Flatten(), dense)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        maps.weight[0, 0] = 1.0  # the first map is red, the second green
        maps.weight[1, 1] = 1.0
        dense.weight[1].view(2, 15, 20)[0, :4, :4] = 1.0
    image_HWC = picture(preprocess)
    image_HWC[..., 0] = 0
    image_HWC[:4, :4] = (255, 0, 0)
    return model, preprocess, image_HWC


def test_grad_cam_finds_the_corner_that_the_answer_depends_on() -> None:
    model, preprocess, image_HWC = cornered()

    found = grad_cam(model, preprocess, image_HWC, 1)

    assert found.cells == (15, 20)
    wanted_HW = np.zeros((15, 20))
    wanted_HW[:4, :4] = 16 / 300  # the gradient's mean over the red map, times its value of one
    np.testing.assert_allclose(found.values_HW, wanted_HW, atol=1e-6)


def test_occlusion_and_integrated_gradients_find_it_too() -> None:
    model, preprocess, image_HWC = cornered()

    covered = occlusion(model, preprocess, image_HWC, 1).values_HW
    integrated = integrated_gradients(model, preprocess, image_HWC, 1).values_HW

    # Patches are 3×3, so pixels 2 or more away from the corner share no patch with it.
    assert covered[:4, :4].min() > 0
    assert not covered[6:].any() and not covered[:, 6:].any()
    assert covered.argmax() == 0, "the patches over it lie wholly in the corner"
    assert integrated[:4, :4].min() > 0
    assert not integrated[4:].any() and not integrated[:, 4:].any()


@pytest.mark.parametrize("fine", [True, False])
def test_grad_cam_is_captums_where_there_is_one_view(fine: bool) -> None:
    # Maps of 3×5 after the second ReLU; or of 2×4, too few cells, then 6×8 after the first.
    generator = Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 4), nn.ReLU(), nn.Conv2d(4, 5, 4 if fine else 5), nn.ReLU(), nn.Flatten()
    )
    model.append(nn.Linear(5 * (3 * 5 if fine else 2 * 4), 4))
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    image_HWC = picture(COLOUR)
    pixels_1CHW = COLOUR(torch.from_numpy(image_HWC[None]))
    theirs = LayerGradCam(model, model[3 if fine else 1])

    found = grad_cam(model, COLOUR, image_HWC, 2)

    wanted = theirs.attribute(pixels_1CHW, target=2, relu_attributions=True)
    assert found.cells == wanted.shape[2:]
    enlarged = nn.functional.interpolate(wanted, (9, 11), mode="bilinear")[0, 0]
    assert found.values_HW.any()
    np.testing.assert_allclose(found.values_HW, enlarged.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_grad_cam_of_an_answer_averaged_over_views_is_that_of_the_plain_view() -> None:
    one, six = build("whitened"), build("whitened", "mirror-and-shift")
    image_HWC = images(1)[0]

    plain = grad_cam(one, PREPROCESS, image_HWC, 3).values_HW
    averaged = grad_cam(six, PREPROCESS, image_HWC, 3).values_HW

    # The plain view has a quarter of the weight.
    assert plain.any()
    np.testing.assert_allclose(averaged, plain / 4, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_explained_as_it_answers(name: str) -> None:
    model, image_HWC = build(name, "mirror-and-shift"), images(1)[0]
    with torch.no_grad():
        empty_HWC = ground(PREPROCESS, image_HWC)
        scores = model(PREPROCESS(torch.from_numpy(np.stack([image_HWC, empty_HWC]))))[:, 2]
    model.train()

    integrated = integrated_gradients(model, PREPROCESS, image_HWC, 2)
    found = [
        grad_cam(model, PREPROCESS, image_HWC, 2).values_HW,
        integrated.values_HW,
        occlusion(model, PREPROCESS, image_HWC, 2).values_HW,
    ]

    assert model.training, "the mode comes back"
    for values_HW in found:
        assert values_HW.shape == (20, 26)
        assert values_HW.dtype == np.float32
        assert np.isfinite(values_HW).all()
    assert integrated.difference == pytest.approx(float(scores[0] - scores[1]), abs=1e-5)
    assert integrated.gap < 0.01


@pytest.fixture(scope="module")
def views_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Return a whitened network that averages over six views."""
    return fl.train(
        striped(400, size=16),
        "cifar10-quick",
        settings=[*whitened_net(8, 16, bias=True, scale=0.008), "train.batch_size=50"],
        epochs=3,
        out=tmp_path_factory.mktemp("runs") / "views",
        quiet=True,
    )


def trained(run: fl.Run) -> tuple[SavedModel, NDArray[np.uint8]]:
    test = striped(400, size=16).test if run.path.name == "views" else fl.load("digits").test
    return load_model(open_run_folder(Path(run.path))), test.images_NHWC[:12]


def in_disorder(model: nn.Module) -> nn.Module:
    """Return a copy with the numbers of each weight tensor shuffled."""
    copy, rng = deepcopy(model), Generator().manual_seed(9)
    with torch.no_grad():
        for tensor in copy.parameters():
            order = torch.randperm(tensor.numel(), generator=rng)
            tensor.copy_(tensor.flatten()[order].view(tensor.shape))
    return copy


@pytest.mark.parametrize("which", ["digits_run", "views_run"])
def test_attributions_are_complete_and_change_with_the_weights(
    which: str, request: pytest.FixtureRequest
) -> None:
    """The sanity check of Adebayo et al. 2018: shuffled weights change the maps."""
    saved, images_NHWC = trained(request.getfixturevalue(which))
    shuffled = in_disorder(saved.model)
    alike: dict[str, list[float]] = {"grad_cam": [], "integrated": [], "occlusion": []}
    for image_HWC in images_NHWC:
        pixels = saved.preprocess(torch.from_numpy(image_HWC[None]))
        answer = int(saved.model(pixels).argmax())
        maps = {}
        for model in (saved.model, shuffled):
            integrated = integrated_gradients(model, saved.preprocess, image_HWC, answer)
            assert integrated.gap < 0.01
            maps[model] = {
                "grad_cam": grad_cam(model, saved.preprocess, image_HWC, answer).values_HW,
                "integrated": integrated.values_HW,
                "occlusion": occlusion(model, saved.preprocess, image_HWC, answer).values_HW,
            }
        for method, values in alike.items():
            one, other = (maps[model][method] for model in (saved.model, shuffled))
            if one.std() > 0 and other.std() > 0:
                values.append(float(spearmanr(one, other, axis=None)[0]))
            elif one.std() > 0:  # Grad-CAM has become zero everywhere, so it has changed
                values.append(0.0)
    for method, values in alike.items():
        assert np.count_nonzero(values) >= 5, "most maps vary, before and after"
        assert np.mean(values) < 0.5, method
