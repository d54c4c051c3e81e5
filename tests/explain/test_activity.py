"""Activity over many images, compared with arithmetic on maps that are known."""

import numpy as np
import pytest
import torch
from tests.explain.networks import PREPROCESS, build, images
from tests.explain.test_every_kind import EVERY
from tests.explain.test_every_kind import build as build_of
from tests.explain.test_layers import OnDisk
from torch import nn

from firstlight import layers as la
from firstlight.evaluate.predict import BATCH
from firstlight.explain.activity import MOST_EXCITING, activity, dead_maps
from firstlight.explain.layers import layer_maps
from firstlight.explain.maps import map_sources
from firstlight.pixels import Preprocess

PLAIN = Preprocess(height=6, width=8, channels=1, mean=(0.0,), std=(1.0,))
"""Pixels from 0 to 1 as the network's input."""


def stubs() -> nn.Module:
    """Return a network with two maps after a ReLU: the pixels, and the pixels minus 2."""
    conv, dense = nn.Conv2d(1, 2, 1), nn.Linear(2 * 48, 3)
    conv.weight = nn.Parameter(torch.ones(2, 1, 1, 1))
    conv.bias = nn.Parameter(torch.tensor([0.0, -2.0]))
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), dense).eval()


def spots(values: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return dark images, each with one bright pixel in a place of its own."""
    images_NHWC = np.zeros((len(values), 6, 8, 1), np.uint8)
    for i, value in enumerate(values):
        images_NHWC[i, i % 6, i % 8] = value
    return images_NHWC


def test_of_a_known_map_off_and_the_most_exciting_images_are_known() -> None:
    values = [10, 200, 30, 255, 0, 200, 70, 80, 90, 100, 110, 120]
    conv, relu, _ = activity(stubs(), PLAIN, spots(values))

    assert (conv.name, relu.kind, relu.is_activation) == ("0", "ReLU", True)
    lit = sum(value > 0 for value in values)
    assert relu.off_C == pytest.approx([1 - lit / (48 * len(values)), 1.0])
    assert conv.off_C == pytest.approx([1 - lit / (48 * len(values)), 1.0])
    assert relu.dead.tolist() == [False, True]
    assert dead_maps([conv, relu]) == 1  # the convolution's second map is below zero too
    assert relu.images_CT[0].tolist() == [3, 1, 5, 11, 10, 9, 8, 7, 6]
    assert relu.values_CT[0] == pytest.approx([values[i] / 255 for i in relu.images_CT[0]])
    assert relu.images_CT[1].tolist() == [*range(MOST_EXCITING)]  # equal ones by index
    assert relu.saturated_C is None


def test_the_saturated_share_of_sigmoid_and_tanh_is_counted_at_both_ends() -> None:
    class Squeezed(nn.Module):
        def __init__(self, function: nn.Module) -> None:
            super().__init__()
            self.function, self.head = function, nn.Linear(48, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.function(20 * x - 10).flatten(1))
            return scores

    # In units of 255: -10 to 10. sigmoid(4.7) is 0.991, tanh(2.4) is 0.984.
    values = [0, 255, 127, *[round(255 * (v + 10) / 20) for v in (4.7, 4.4, -4.7, 2.4, 2.1)]]
    images_NHWC = np.tile(np.array(values, np.uint8)[:, None, None, None], (1, 6, 8, 1))
    sigmoid, tanh = (
        activity(Squeezed(f).eval(), PLAIN, images_NHWC)[0] for f in (nn.Sigmoid(), nn.Tanh())
    )
    assert sigmoid.saturated_C == pytest.approx([4 / 8])
    assert tanh.saturated_C == pytest.approx([6 / 8])
    net = build_of(la.Conv(4, activation="tanh"), la.GlobalAveragePool(), la.Dense("classes"))
    listed = activity(net, PREPROCESS, images(3))
    assert [layer.saturated_C is None for layer in listed] == [True, False, True, True]


def test_every_kind_of_layer_is_counted_as_it_is_shown_a_batch_at_a_time() -> None:
    model, images_NHWC = build_of(*EVERY), images(2 * BATCH + 3)
    on_disk, told = OnDisk(images_NHWC), list[tuple[int, int]]()
    found = activity(model, PREPROCESS, on_disk, lambda done, total: told.append((done, total)))
    assert on_disk.largest == BATCH
    assert told == [(125, 253), (250, 253), (253, 253)]
    some = [0, 100, 200, 252]
    for at in some:
        for layer, shown in zip(found, layer_maps(model, PREPROCESS, images_NHWC[at]), strict=True):
            assert (layer.name, layer.kind) == (shown.name, shown.kind)
            largest_C = shown.maps_Chw.max(axis=(1, 2))
            below_C = largest_C < layer.values_CT[:, -1] + 1e-3
            listed_C = (layer.images_CT == at).any(axis=1)
            assert (below_C | listed_C).all()
            for c in np.flatnonzero(listed_C):
                place = layer.images_CT[c].tolist().index(at)
                assert layer.values_CT[c, place] == pytest.approx(largest_C[c], rel=1e-3, abs=1e-4)


def test_the_place_that_excites_a_map_is_what_the_filter_covers() -> None:
    """Two 3×3 convolutions without padding: 5×5 pixels from the strongest position on."""
    model = build_of(la.Conv(4), la.Conv(3), la.GlobalAveragePool(), la.Dense("classes"))
    images_NHWC = images(4)
    for one, image_HWC in zip(
        map_sources(model, PREPROCESS, images_NHWC, 1, 2), images_NHWC, strict=True
    ):
        map_hw = layer_maps(model, PREPROCESS, image_HWC)[1].maps_Chw[2]
        assert one.value == pytest.approx(map_hw.max(), abs=1e-5)
        row, column = np.unravel_index(map_hw.argmax(), map_hw.shape)
        assert one.box == (row, column, row + 5, column + 5)


def test_a_map_that_no_pixel_changes_has_no_place() -> None:
    (source,) = map_sources(stubs(), PLAIN, spots([255]), 1, 1)
    assert (source.value, source.box) == (0.0, None)


def test_of_a_network_with_views_only_the_image_itself_counts() -> None:
    plain, averaged = (
        activity(build("whitened", views), PREPROCESS, images(BATCH + 5))
        for views in ("one", "mirror-and-shift")
    )
    for a, b in zip(plain, averaged, strict=True):
        np.testing.assert_allclose(a.values_CT, b.values_CT, atol=1e-5)
