"""How the exported graph prepares images of another size or kind, compared with Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from firstlight.data.pictures import PictureSource, prepare
from firstlight.export.fit import fitted
from firstlight.pixels import Preprocess


def preprocess(*, light_on_dark: bool, channels: int) -> Preprocess:
    return Preprocess(
        height=12,
        width=15,
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        light_on_dark=light_on_dark,
    )


def smooth_picture(height: int, width: int, channels: int) -> np.ndarray:
    """Light shapes on a black border, uint8 H×W×C."""
    rng = np.random.default_rng(height * width)
    coarse = rng.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    image = Image.fromarray(coarse[..., 0] if channels == 1 else coarse)
    picture = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    picture = picture.reshape(height, width, channels)
    edge = max(1, min(height, width) // 8)
    picture[:edge] = picture[-edge:] = picture[:, :edge] = picture[:, -edge:] = 0
    return picture


@pytest.mark.parametrize("light_on_dark", [True, False])
@pytest.mark.parametrize("size", [(12, 15), (24, 30), (41, 23), (30, 61), (7, 9), (5, 33)])
@pytest.mark.parametrize(("came", "wanted"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_a_picture_of_any_size_is_within_one_level_of_what_predict_makes_with_pillow(
    light_on_dark: bool, size: tuple[int, int], came: int, wanted: int
) -> None:
    pixels = preprocess(light_on_dark=light_on_dark, channels=wanted)
    picture = smooth_picture(*size, came)
    opened = Image.fromarray(picture[..., 0] if came == 1 else picture)
    expected = prepare(PictureSource(name="it", content=opened), pixels).image_HWC

    (got,) = fitted(torch.from_numpy(picture)[None], pixels).numpy()

    # Pillow's filters are 22-bit integers, and a half may be rounded the other way.
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("light_on_dark", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_models_shape_come_back_to_the_bit(
    light_on_dark: bool, channels: int
) -> None:
    pixels = preprocess(light_on_dark=light_on_dark, channels=channels)
    images = np.random.default_rng(0).integers(0, 256, (9, 12, 15, channels), dtype=np.uint8)

    np.testing.assert_array_equal(fitted(torch.from_numpy(images), pixels).numpy(), images)


def test_every_grey_and_every_colour_is_pillows_grey() -> None:
    pixels = preprocess(light_on_dark=False, channels=1)
    colours = np.random.default_rng(0).integers(0, 256, (200, 12, 15, 3), dtype=np.uint8)
    colours[0, ..., :] = np.arange(180, dtype=np.uint8).reshape(12, 15, 1)

    grey = fitted(torch.from_numpy(colours), pixels).numpy()

    for one, image in zip(grey, colours, strict=True):
        np.testing.assert_array_equal(one[..., 0], np.array(Image.fromarray(image).convert("L")))
