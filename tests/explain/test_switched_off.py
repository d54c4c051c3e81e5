"""A map set to zero, compared with a forward pass written out."""

import threading

import numpy as np
import pytest
import torch
from tests.explain.networks import PREPROCESS, build, images
from tests.explain.test_every_kind import EVERY
from tests.explain.test_every_kind import build as build_of
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from firstlight import layers as la
from firstlight.explain.layers import layer_maps
from firstlight.explain.switched_off import switched_off

IMAGE = images(1)[0]


def scores(model: nn.Module, image_HWC: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(PREPROCESS(torch.from_numpy(image_HWC[None])))[0]
    return found


def test_the_answer_is_that_of_the_forward_pass_with_a_zero_map() -> None:
    model = build("tutorial")
    weights = model.state_dict()
    x = PREPROCESS(torch.from_numpy(IMAGE[None]))[:, :, : model.rows, : model.columns]
    x = relu(max_pool2d(conv2d(x, weights["conv1.weight"], weights["conv1.bias"]), 2))
    x[:, 3] = 0
    x = relu(max_pool2d(conv2d(x, weights["conv2.weight"], weights["conv2.bias"]), 2))
    x = x.permute(0, 2, 3, 1).flatten(1)
    x = relu(x @ weights["dense1.weight"].T + weights["dense1.bias"])
    wanted = x @ weights["dense2.weight"].T + weights["dense2.bias"]
    before = scores(model, IMAGE)

    with switched_off(model, PREPROCESS, IMAGE, 2, 3):
        found = scores(model, IMAGE)

    torch.testing.assert_close(found, wanted[0], atol=1e-5, rtol=1e-4)
    assert (found - before).abs().max() > 1e-3
    torch.testing.assert_close(scores(model, IMAGE), before)


def test_it_is_off_in_every_view() -> None:
    one, mirrored = (
        build_of(la.Conv(4), la.GlobalMaxPool(), la.Dense("classes"), views=v)
        for v in ("one", "mirror")
    )
    with switched_off(one, PREPROCESS, IMAGE, 0, 1):
        wanted = (scores(one, IMAGE) + scores(one, IMAGE[:, ::-1].copy())) / 2
    with switched_off(mirrored, PREPROCESS, IMAGE, 0, 1):
        torch.testing.assert_close(scores(mirrored, IMAGE), wanted)


@pytest.mark.parametrize("layer", [0, 9, 14, 20, -1])
def test_in_every_kind_of_layer_the_shown_map_is_zero_and_the_others_stay(layer: int) -> None:
    model = build_of(*EVERY)
    before = layer_maps(model, PREPROCESS, IMAGE)
    layer %= len(before)
    with switched_off(model, PREPROCESS, IMAGE, layer, 1):
        after = layer_maps(model, PREPROCESS, IMAGE)
    found, wanted = after[layer].maps_Chw, before[layer].maps_Chw.copy()
    assert wanted[1].any()
    wanted[1] = 0
    np.testing.assert_array_equal(found, wanted)


def test_of_a_module_that_runs_twice_only_the_chosen_run_changes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.head = nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.conv(self.conv(x)).mean((2, 3)))
            return scores

    torch.manual_seed(0)
    model = Twice().eval()
    assert [one.name for one in layer_maps(model, PREPROCESS, IMAGE)][:2] == ["conv", "conv (2)"]
    with torch.no_grad():
        second = model.conv(model.conv(PREPROCESS(torch.from_numpy(IMAGE[None]))))
        second[:, 2] = 0
        wanted = model.head(second.mean((2, 3)))[0]
    with switched_off(model, PREPROCESS, IMAGE, 1, 2):
        torch.testing.assert_close(scores(model, IMAGE), wanted)


def test_other_threads_have_the_whole_network() -> None:
    model, found = build("tutorial"), list[Tensor]()
    with switched_off(model, PREPROCESS, IMAGE, 2, 3):
        other = threading.Thread(target=lambda: found.append(scores(model, IMAGE)))
        other.start()
        other.join(60)
        changed = scores(model, IMAGE)
    torch.testing.assert_close(found[0], scores(model, IMAGE), atol=0, rtol=0)
    assert not torch.equal(found[0], changed)


@pytest.mark.parametrize(
    ("place", "words"),
    [((99, 0), "wanted a layer from 0 to"), ((0, 6), "wanted a map from 0 to 5")],
)
def test_no_such_layer_or_map_is_refused(place: tuple[int, int], words: str) -> None:
    with (
        pytest.raises(ValueError, match=words),
        switched_off(build("tutorial"), PREPROCESS, IMAGE, *place),
    ):
        pass
