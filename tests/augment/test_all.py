"""Facts about every augmentation, and comparisons with Pillow, SciPy and the papers."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import ndimage, stats
from torch import Generator, Tensor

from firstlight import augment
from firstlight.augment import AUGMENTATIONS, Augmentation
from firstlight.augment.augmentation import Seen
from firstlight.augment.batch import augment as changed
from firstlight.augment.mix import mix
from firstlight.augment.mixing import Mix

SCALED = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
STANDARD = ((0.48, 0.45, 0.41), (0.25, 0.22, 0.27))


def seen(count: int, pixels: Any = SCALED, channels: int = 3) -> Seen:
    coins_B = torch.rand(count, generator=Generator().manual_seed(9)) < 0.5
    return Seen(coins_B, pixels[0][:channels], pixels[1][:channels])


def plain(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(seed))


def run(one: Augmentation, pixels_BCHW: Tensor, known: Seen, seed: int = 1) -> Tensor:
    rng = Generator().manual_seed(seed)
    if isinstance(one, Mix):
        return mix(pixels_BCHW, one, rng, rng)[0]
    return changed(pixels_BCHW, (one,), known, rng)


def standard(plain_BCHW: Tensor, pixels: Any) -> Tensor:
    mean_C11, std_C11 = (torch.tensor(v[: plain_BCHW.shape[1]])[:, None, None] for v in pixels)
    return (plain_BCHW - mean_C11) / std_C11


@pytest.mark.parametrize("shape", [(40, 1, 9, 14), (40, 3, 17, 10)], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_images_of_any_kind_are_changed_and_what_came_in_is_left(
    kind: type[Augmentation], shape: tuple[int, ...]
) -> None:
    one = kind()
    images = plain(shape)
    for pixels in (SCALED, STANDARD):
        known = seen(shape[0], pixels, shape[1])
        given = standard(images, pixels).contiguous(memory_format=torch.channels_last)
        before = given.clone()

        result = run(one, given, known)

        assert torch.equal(given, before)
        assert result.shape == given.shape and result.dtype == torch.float32
        assert result.isfinite().all() and not torch.equal(result, given)
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(result, run(one, given, known))
        assert not torch.equal(result, run(one, given, known, seed=2))
        torch.testing.assert_close(run(one, given.contiguous(), known), result)
        if kind is not augment.Cutout:  # its zeros are black, or the mean
            # 1e-5: standardised and back, in float32.
            torch.testing.assert_close(
                result,
                standard(run(one, images, seen(*known_of(shape))), pixels),
                atol=1e-5,
                rtol=0,
            )


def known_of(shape: tuple[int, ...]) -> tuple[int, Any, int]:
    return shape[0], SCALED, shape[1]


@pytest.mark.parametrize("mean_std", [SCALED, STANDARD], ids=["scaled", "standardised"])
def test_no_colour_leaves_the_range_from_black_to_white(mean_std: Any) -> None:
    images = (plain((60, 3, 8, 11)) > 0.5).float()
    for one in (
        *(augment.Brightness(1.0), augment.Contrast(1.0), augment.Noise(1.0)),
        *(augment.Blur(4.0), augment.Erase(1.0)),
    ):
        mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in mean_std)
        result = run(one, standard(images, mean_std), seen(60, mean_std)) * std_C11 + mean_C11
        assert result.min() >= -1e-6 and result.max() <= 1 + 1e-6, one


def uint8(shape: tuple[int, ...], low: int, high: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(low, high, shape, dtype=np.uint8)


def batch(images_NHWC: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2) / 255


def pillow(image_HWC: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_is_pillows(channels: int) -> None:
    images_NHWC = uint8((300, 7, 9, channels), 0, 150)  # ×1.5 is below white
    result = run(augment.Brightness(0.5), batch(images_NHWC), seen(300, SCALED, channels))
    factors = result.sum((1, 2, 3)) / batch(images_NHWC).sum((1, 2, 3))
    assert stats.kstest(factors.numpy(), stats.uniform(0.5, 1.0).cdf).pvalue > 0.01
    for image, factor, ours in list(zip(images_NHWC, factors, result, strict=True))[:20]:
        theirs = np.asarray(ImageEnhance.Brightness(pillow(image)).enhance(float(factor)))
        mine = ours.permute(1, 2, 0).numpy() * 255
        assert np.abs(mine - theirs.reshape(mine.shape)).max() <= 1  # Pillow rounds down


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_is_pillows_around_the_mean_grey(channels: int) -> None:
    images_NHWC = uint8((300, 7, 9, channels), 60, 190)
    images_NHWC[..., 0] //= 2  # red is darker: its mean is not that of the grey image
    result = run(augment.Contrast(0.5), batch(images_NHWC), seen(300, SCALED, channels))
    spread = [values.flatten(1).std(1) for values in (result, batch(images_NHWC))]
    factors = (spread[0] / spread[1]).numpy()
    assert 0.5 < factors.min() < 0.52 and 1.3 < factors.max() < 1.5
    for image, factor, ours in list(zip(images_NHWC, factors, result, strict=True))[:20]:
        theirs = np.asarray(ImageEnhance.Contrast(pillow(image)).enhance(float(factor)))
        mine = ours.permute(1, 2, 0).numpy() * 255
        # Pillow rounds the mean grey, and each result down.
        assert np.abs(mine - theirs.reshape(mine.shape)).max() <= 1.5


def test_noise_is_normal_of_its_deviation_and_of_each_pixel_by_itself() -> None:
    grey = torch.full((50, 3, 20, 30), 0.5)
    added = run(augment.Noise(0.1), standard(grey, STANDARD), seen(50, STANDARD))
    noise = (added * torch.tensor(STANDARD[1])[:, None, None]) + (
        torch.tensor(STANDARD[0])[:, None, None] - 0.5
    )
    assert stats.kstest(noise.flatten().numpy()[::7], stats.norm(0, 0.1).cdf).pvalue > 0.01
    for one, other in (
        (noise[:, 0], noise[:, 1]),
        (noise[:25], noise[25:]),
        (noise[..., 1:], noise[..., :-1]),
    ):
        r = np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]
        assert abs(r) < 0.03  # five standard errors at n = 30,000


@pytest.mark.parametrize(("height", "width"), [(24, 41), (5, 51), (1, 45)])
@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_a_blur_is_scipys_gaussian(sigma: float, height: int, width: int) -> None:
    """Channel 0 holds a row of points, whose neighbours reveal each image's σ."""
    images = plain((40, 3, height, width))
    images[:, 0] = 0
    images[:, 0, :, width // 2] = 1
    result = run(augment.Blur(sigma), images, seen(40))
    middle = result[:, 0, 0, width // 2]
    ratio = (result[:, 0, 0, width // 2 + 1] / middle).double()
    widths = (-1 / (2 * ratio.log())).sqrt().numpy()
    assert 0 < widths.max() <= sigma * 1.001 and widths.max() > 0.9 * sigma
    for image, width_of, ours in zip(images.numpy(), widths, result.numpy(), strict=True):
        if width_of > 0.3:
            theirs = ndimage.gaussian_filter(image, width_of, axes=(1, 2), mode="mirror")
            # 2e-4: SciPy ends each filter at four of its σ, ours ends at four of the largest.
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


def sources(moved: Tensor, height: int, width: int) -> tuple[Any, Any]:
    """Return the matrix and the offset, in pixels, from output pixels to the sources of their
    colours.

    The first two channels hold the row's and the column's number.
    """
    rows, columns = moved[0].numpy(), moved[1].numpy()
    inside = (rows > 1) & (rows < height - 2) & (columns > 1) & (columns < width - 2)
    y, x = np.nonzero(inside)
    places = np.stack([y, x, np.ones_like(y)], axis=1)
    fitted = np.linalg.lstsq(places, np.stack([rows[inside], columns[inside]], axis=1))[0]
    return fitted[:2].T, fitted[2]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 44), (40, 26)])
@pytest.mark.parametrize(
    "steps",
    [
        (augment.Rotate(30.0),),
        (augment.Shift(0.2),),
        (augment.Scale(0.3),),
        (augment.Shear(25.0),),
        (augment.Rotate(20.0), augment.Shift(0.1), augment.Flip()),
        (augment.Shear(20.0), augment.Flip(), augment.Scale(0.2), augment.Rotate(20.0)),
    ],
    ids=["rotate", "shift", "scale", "shear", "three", "four"],
)
def test_moves_are_scipys_affine_transform(
    steps: tuple[Augmentation, ...], height: int, width: int
) -> None:
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((height, width)), 2)
    y, x = np.mgrid[:height, :width]
    stacked = np.stack([y, x, texture]).astype(np.float32)
    images = torch.from_numpy(stacked).expand(30, 3, height, width)
    result = changed(images, steps, seen(30), Generator().manual_seed(5))
    matrices = []
    for moved in result:
        matrix, offset = sources(moved, height, width)
        theirs = ndimage.affine_transform(texture, matrix, offset, order=1, mode="nearest")
        # 2e-3 of a range of 0.3: positions are rounded in float32, and read from them here.
        np.testing.assert_allclose(moved[2].numpy(), theirs, atol=2e-3)
        matrices.append(matrix)
    (down, lean), (rise, right) = np.transpose(matrices, (1, 2, 0))
    if len(steps) > 1:
        return
    if isinstance(steps[0], augment.Rotate):
        np.testing.assert_allclose(down**2 + lean**2, 1, atol=2e-3)
        np.testing.assert_allclose([down, lean], [right, -rise], atol=2e-3)
        assert 24 < np.abs(np.degrees(np.arctan2(rise, right))).max() < 30.1
    elif isinstance(steps[0], augment.Shift):
        np.testing.assert_allclose([down, right], 1, atol=2e-3)
        np.testing.assert_allclose([lean, rise], 0, atol=2e-3)
    elif isinstance(steps[0], augment.Scale):
        np.testing.assert_allclose([lean, rise], 0, atol=2e-3)
        np.testing.assert_allclose(down, right, atol=2e-3)
        assert 0.69 < (1 / down).min() < 0.8 and 1.2 < (1 / down).max() < 1.31
    else:
        np.testing.assert_allclose([down, right], 1, atol=2e-3)
        np.testing.assert_allclose(lean, 0, atol=2e-3)
        assert 20 < np.abs(np.degrees(np.arctan(rise))).max() < 25.1


def erased(
    one: augment.Erase, count: int, height: int, width: int, channels: int = 3
) -> NDArray[np.float64]:
    """Return top, left, height and width of each erased rectangle; rows of zeros for none."""
    images = torch.full((count, channels, height, width), 2.0)  # whiter than any colour
    gone = (run(one, images, seen(count, SCALED, channels)) != 2).numpy()
    assert (gone == gone[:, :1]).all(), "all channels alike"
    boxes = np.zeros((count, 4))
    for box, mask in zip(boxes, gone[:, 0], strict=True):
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box[:] = rows[0], columns[0], len(rows), len(columns)
            assert mask.sum() == len(rows) * len(columns)
    return boxes


def algorithm_1(
    least: float, most: float, count: int, height: int, width: int
) -> NDArray[np.float64]:
    """Zhong et al. 2020, algorithm 1, with torchvision's ratios, written out: returns the sides."""
    rng, found = np.random.default_rng(1), list[tuple[float, float]]()
    while len(found) < count:
        area = rng.uniform(least, most) * height * width
        ratio = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
        sides = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if sides[0] <= height and sides[1] <= width:
            found.append(sides)
    return np.array(found)


@pytest.mark.parametrize(("height", "width"), [(120, 120), (70, 180)])
@pytest.mark.parametrize(("least", "most"), [(0.02, 0.33), (0.3, 0.9)])
def test_erased_rectangles_have_the_areas_and_ratios_of_the_paper(
    least: float, most: float, height: int, width: int
) -> None:
    boxes = erased(augment.Erase(1.0, least=least, most=most), 500, height, width, channels=1)
    assert (boxes[:, 2] > 0).all()
    wanted = algorithm_1(least, most, 500, height, width)
    for ours, theirs in (
        (boxes[:, 2] * boxes[:, 3], wanted[:, 0] * wanted[:, 1]),
        (boxes[:, 2] / boxes[:, 3], wanted[:, 0] / wanted[:, 1]),
    ):
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01
    for place, side, length in ((0, height, 2), (1, width, 3)):
        assert (boxes[:, place] + boxes[:, length] <= side).all()
        free = side - boxes[:, length]
        at = boxes[free > 20, place] / free[free > 20]
        assert stats.kstest(at, "uniform").pvalue > 0.01


def test_a_share_of_the_images_is_erased_with_uniform_colours() -> None:
    boxes = erased(augment.Erase(0.3), 1000, 12, 9)
    assert 230 < (boxes[:, 2] > 0).sum() < 370  # five standard deviations
    whole = run(augment.Erase(1.0, least=1.0, most=1.0), plain((30, 3, 12, 9)), seen(30))
    assert stats.kstest(whole.flatten().numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (8, 8)])
def test_a_rectangle_that_hardly_fits_is_as_large_as_it_can_be(shape: tuple[int, int]) -> None:
    boxes = erased(augment.Erase(1.0, least=0.95, most=1.0), 50, *shape)
    assert (boxes[:, 2] * boxes[:, 3] >= 0.85 * shape[0] * shape[1]).all()
