"""Altered copies, made here with Pillow, are found; other pictures and look-alikes are not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from tests.data.drawings import DRAWN, NOISY

from firstlight.data.altered import altered_copies
from firstlight.data.duplicates import groups
from firstlight.data.load import load

COUNT, SIDE = 100, 32
Alter = Callable[[Image.Image], Image.Image]


def photographs(count: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Return coloured noise whose energy falls with the square of the frequency, as in
    photographs."""
    rng = np.random.default_rng(seed)
    row, column = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    fall = 1 / np.maximum(np.hypot(row, column), 0.5 / side)
    shape = (count, 3, side, side // 2 + 1)
    spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * fall
    waves = np.fft.irfft2(spectrum, (side, side))
    waves = 0.4 * waves + waves.mean(axis=1, keepdims=True)  # more brightness than colour
    waves *= 45 / waves.std(axis=(1, 2, 3), keepdims=True)
    images_NCHW: np.ndarray = np.clip(waves + 128, 0, 255).astype(np.uint8)
    return images_NCHW.transpose(0, 2, 3, 1)


def jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream).convert(image.mode)


def resized(image: Image.Image) -> Image.Image:
    return image.resize((16, 16), Image.Resampling.BILINEAR).resize((SIDE, SIDE))


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def shifted(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.pad(np.asarray(image), ((0, 1), (1, 0), (0, 0)), "edge")[1:, :-1])


def turned(image: Image.Image) -> Image.Image:
    return image.rotate(5, Image.Resampling.BICUBIC)


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((2, 1, 31, 30)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def transposed(how: Image.Transpose) -> Alter:
    return lambda image: image.transpose(how)


def altered(images_NHWC: np.ndarray, alter: Alter) -> np.ndarray:
    return np.stack([np.asarray(alter(Image.fromarray(image))) for image in images_NHWC])


ALTERED: dict[str, tuple[Alter, float]] = {
    **{how.name: (transposed(how), 1.0) for how in Image.Transpose},
    "compressed": (jpeg, 0.9),
    "resized": (resized, 0.9),
    "blurred": (blurred, 0.9),
    "mirrored and compressed": (lambda image: jpeg(ImageOps.mirror(image)), 0.9),
    "a quarter turned and blurred": (lambda image: blurred(image.rotate(90)), 0.9),
    "shifted": (shifted, 0.5),
    "turned": (turned, 0.5),
    "cropped": (cropped, 0.5),
    "mirrored and turned": (lambda image: turned(ImageOps.mirror(image)), 0.5),
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_copy_is_found_whatever_was_done_to_it_and_no_stranger_is(name: str) -> None:
    alter, share = ALTERED[name]
    images = photographs(COUNT)
    pairs = altered_copies(np.concatenate([images, altered(images, alter)]))
    found = {(i, j) for i, j in pairs if j == i + COUNT}
    assert len(found) >= share * COUNT
    assert set(pairs) == found


def test_the_eight_turns_of_a_picture_are_one_group() -> None:
    images = photographs(20)
    turns = [images, *(altered(images, transposed(how)) for how in Image.Transpose)]
    pairs = altered_copies(np.concatenate(turns))
    assert groups(160, pairs).tolist() == [*range(20)] * 8


def test_of_a_set_of_turned_copies_alone_none_is_lost() -> None:
    """Each picture has copies, so a large share of all pairs are copies."""
    images = photographs(2)
    both = np.concatenate([images, altered(images, transposed(Image.Transpose.ROTATE_90))])
    assert altered_copies(both) == [(0, 2), (1, 3)]


def test_pictures_that_are_no_squares_are_turned_as_well() -> None:
    wide = photographs(10, 48)[:, :32]
    assert altered_copies(np.concatenate([wide, wide[:, ::-1, ::-1]])) == [
        (i, i + 10) for i in range(10)
    ]


def test_a_grey_set_and_a_small_one() -> None:
    grey = photographs(30, 12)[..., :1]
    assert altered_copies(np.concatenate([grey, grey[:, :, ::-1]])) == [
        (i, i + 30) for i in range(30)
    ]


def test_faint_pictures_are_no_copies_of_one_another() -> None:
    rng = np.random.default_rng(0)
    assert altered_copies(rng.integers(0, 3, (60, 32, 32, 3), dtype=np.uint8)) == []
    assert altered_copies(np.full((5, 32, 32, 1), 90, np.uint8)) == []
    assert altered_copies(np.empty((0, 32, 32, 3), np.uint8)) == []


@pytest.mark.parametrize("count", [50, 200, 1437])
def test_handwritten_digits_that_look_alike_are_no_copies(count: int) -> None:
    digits = load("digits").train.images_NHWC[:count]
    assert altered_copies(digits) == []


def test_among_look_alikes_quarter_turns_and_mirror_images_are_found() -> None:
    digits = load("digits").train.images_NHWC
    made = np.concatenate([digits[:20].swapaxes(1, 2), digits[20:40, ::-1]])
    pairs = altered_copies(np.concatenate([digits, made]))
    assert {(i, 1437 + i) for i in range(40)} <= set(pairs)
    assert len(pairs) <= 44  # a rotated copy sometimes resembles its picture's mirror image


@pytest.mark.real_data
def test_copies_of_photographs_are_found_and_of_ten_thousand_few_are_taken_for_copies() -> None:
    train, test = load("cifar10", download=False)
    for alter, share in ALTERED.values():
        images = test.images_NHWC[:150]
        pairs = altered_copies(np.concatenate([images, altered(images, alter)]))
        assert sum(j == i + 150 for i, j in pairs) >= share * 150
    pairs = altered_copies(train.images_NHWC[:10_000])
    assert np.bincount(groups(10_000, pairs)).max() <= 10
    assert len(pairs) <= 70  # inspected: all but 2 or 3 pairs are one photograph


@pytest.mark.parametrize("name", [*NOISY, *DRAWN])
def test_turned_and_mirrored_drawings_are_found(name: str) -> None:
    images = (NOISY | DRAWN)[name]()[:10]
    made = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    group_N = groups(40, altered_copies(np.concatenate(made)))
    assert (group_N.reshape(4, 10) == group_N[:10]).all()
