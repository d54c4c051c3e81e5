"""The whitened network, against covariances and averages worked out separately."""

import numpy as np
import pytest
import torch
from torch import Generator

from firstlight.models.whitened import WhitenedCNN
from firstlight.recipe import ModelChoice

SHAPE = (20, 26, 3)


def build(**choice: object) -> WhitenedCNN:
    values = {"widths": (8, 12, 16), "first_kernel": 2, "first_filters": 24, **choice}
    chosen = ModelChoice(name="whitened", **values)  # type: ignore[arg-type]
    return WhitenedCNN(chosen, SHAPE, 5, Generator().manual_seed(1))


def pixels(count: int = 40) -> torch.Tensor:
    """Smooth colour images: neighbouring pixels are alike, as in photographs."""
    rough = torch.rand(count, 3, 5, 6, generator=Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, (20, 26), mode="bilinear")


def test_the_stem_gives_every_direction_of_a_patch_unit_variance() -> None:
    model = build()
    images_NCHW = pixels()
    model.see(images_NCHW)

    out = torch.nn.functional.conv2d(images_NCHW, model.stem.weight)
    half = out.shape[1] // 2
    rows = out[:, :half].permute(0, 2, 3, 1).reshape(-1, half).double().numpy()
    second_moment = rows.T @ rows / len(rows)

    assert torch.allclose(out[:, :half], -out[:, half:])
    # Directions whose variance is near or below EPSILON = 5e-4 come out smaller than one.
    diagonal = np.sort(np.diag(second_moment))[::-1]
    assert diagonal[0] == pytest.approx(1, abs=0.01)
    assert diagonal[-1] <= 1
    off = second_moment - np.diag(np.diag(second_moment))
    assert np.abs(off).max() < 1e-3


def test_the_same_images_give_the_same_filters_and_at_most_the_stems_bias_is_trained() -> None:
    one, other = build(), build(first_bias=True)
    one.see(pixels())
    other.see(pixels())

    assert torch.equal(one.stem.weight, other.stem.weight)
    trained = [[n for n, p in m.stem.named_parameters() if p.requires_grad] for m in (one, other)]
    assert trained == [[], ["bias"]]


def test_answers_are_averages_over_views_and_training_sees_the_image_alone() -> None:
    names = {1: "one", 2: "mirror", 6: "mirror-and-shift"}
    models = {count: build(views=name) for count, name in names.items()}
    for model in models.values():
        model.see(pixels())
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
    plain, shifted = build(), build(views="shift")
    for model in (plain, shifted):
        model.see(pixels())
        model.eval()
    images = pixels(3).numpy()
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    places = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    moved = [wide[:, :, y : y + 20, x : x + 26].copy() for y, x in places]
    with torch.no_grad():
        expected = torch.stack([plain(torch.from_numpy(view)) for view in moved]).mean(0)
        assert torch.allclose(shifted(pixels(3)), expected, atol=1e-6)


def test_a_convolution_starts_by_passing_its_channels_through() -> None:
    widen = build().groups[0].get_submodule("widen")
    maps = torch.randn(2, 24, 6, 6, generator=Generator().manual_seed(0))

    assert torch.allclose(widen(maps), maps[:, :8], atol=1e-6)


def test_a_stride_quarters_the_maps_and_fewer_filters_keep_the_largest_directions() -> None:
    model = build(first_kernel=4, first_stride=2, first_filters=10, widths=(8,))
    model.see(pixels())
    assert model.stem(pixels(2)).shape == (2, 10, 9, 12)

    patches = pixels().unfold(2, 4, 2).unfold(3, 4, 2).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48)
    variances = np.linalg.eigvalsh(patches.double().numpy().T @ patches.double().numpy())
    kept = model.stem.weight[:5].reshape(5, 48).double()
    directions = (kept / kept.norm(dim=1, keepdim=True)).detach().numpy()
    along = ((patches.double().numpy() @ directions.T) ** 2).sum(0)
    np.testing.assert_allclose(along, variances[::-1][:5], rtol=1e-3)


def test_the_last_layer_sees_the_largest_value_of_each_map_or_every_place() -> None:
    # Images of 20×26 pixels: 19×25 behind the stem, and 9×12, 4×6, 2×3 behind the groups.
    for pool_last in (True, False):
        model = build(pool_last=pool_last).eval()
        model.see(pixels())
        maps: list[torch.Tensor] = []
        model.groups[-1].register_forward_hook(lambda _, __, output, maps=maps: maps.append(output))
        with torch.no_grad():
            logits_NK = model(pixels(6))
        (maps_NCHW,) = maps
        weight = model.logits.weight.detach()
        assert maps_NCHW.shape == (6, 16, 2, 3)
        if pool_last:
            expected_NK = torch.einsum("nc,kc->nk", maps_NCHW.flatten(2).max(2).values, weight)
        else:
            weight_KHWC = weight.reshape(5, 2, 3, 16)
            expected_NK = torch.einsum("nchw,khwc->nk", maps_NCHW, weight_KHWC)
        torch.testing.assert_close(logits_NK, expected_NK * model.scale)


@pytest.mark.parametrize(("pool_last", "features"), [(True, 64), (False, 64 * 4 * 6)])
def test_the_last_layer_begins_with_the_variance_that_keeps_that_of_what_it_sees(
    pool_last: bool, features: int
) -> None:
    weight = build(pool_last=pool_last, widths=(8, 64)).logits.weight.detach()
    assert weight.shape == (5, features)
    assert float(weight.std() * features**0.5) == pytest.approx(1, rel=0.2)  # 320 numbers or more


@pytest.mark.parametrize("filters", [7, 26])
def test_impossible_numbers_of_filters_are_refused(filters: int) -> None:
    with pytest.raises(ValueError, match="even and at most 24"):
        build(first_filters=filters)


def test_images_too_small_for_the_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 8×8 pixels are too small for 3 groups"):
        choice = ModelChoice(name="whitened", widths=(8, 8, 8), first_filters=2)
        WhitenedCNN(choice, (8, 8, 1), 10, Generator())


def test_dropout_zeroes_what_the_last_layer_sees_in_training_alone() -> None:
    plain, dropping = build(), build(dropout=0.5)
    for model in (plain, dropping):
        model.see(pixels())
    dropping.dropout.rng = Generator().manual_seed(0)
    seen: list[torch.Tensor] = []
    dropping.logits.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    dropping(pixels(8))
    share = (seen[0] == 0).float().mean().item()
    plain.load_state_dict(dropping.state_dict())  # the pass has moved the batch statistics

    assert share == pytest.approx(0.5, abs=0.15)
    with torch.no_grad():
        assert torch.equal(plain.eval()(pixels(3)), dropping.eval()(pixels(3)))
