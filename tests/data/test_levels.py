"""Which ranges of numbers are clear, which must be given, and the resulting pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import firstlight as fl
import firstlight.data.own as own
from firstlight.data.arrays import from_images
from firstlight.data.check import DataCheck, check
from firstlight.data.folder import list_folder
from firstlight.data.levels import levels_to_ask
from firstlight.data.own import load_own
from firstlight.errors import DataError

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
DIGITS = RNG.integers(0, 17, (30, 28, 28))
LABELS = np.arange(30) % 2


def pixels(data: fl.TrainTest) -> set[bytes]:
    return {image_HWC.tobytes() for part in data for image_HWC in part.images_NHWC}


def bytes_of(images: np.ndarray) -> set[bytes]:
    return {image.astype(np.uint8).tobytes() for image in images}


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (LEVELS, LEVELS),
        (LEVELS.astype(np.int64), LEVELS),
        (LEVELS.astype(np.uint16), LEVELS),
        (LEVELS.astype(np.float32), LEVELS),
        (LEVELS + 0.25, LEVELS),
        (LEVELS / 255, LEVELS),
        ((LEVELS / 255).astype(np.float32), LEVELS),
        ((LEVELS / 255).astype(np.float16), LEVELS),
        (LEVELS / 255 * 1.0005, LEVELS),  # overshoot of interpolation
        (LEVELS > 128, (LEVELS > 128) * 255),
        (LEVELS.astype(np.uint16) * 257, LEVELS),
    ],
)
def test_a_plain_range_needs_no_word(images: np.ndarray, wanted: np.ndarray) -> None:
    assert pixels(from_images(images, LABELS)) == bytes_of(wanted)
    assert pixels(from_images(list(images), LABELS)) == bytes_of(wanted)


@pytest.mark.parametrize(
    ("images", "range_"),
    [
        ((LEVELS > 128).astype(np.uint8), (0, 1)),
        ((LEVELS > 128).astype(np.int64), (0, 1)),
        (DIGITS, (0, 16)),
        (DIGITS.astype(np.uint8), (0, 16)),
        (DIGITS.astype(np.float64), (0, 16)),
        (LEVELS / 255 * 2 - 1, (-1, 1)),
        (LEVELS.astype(np.int16) - 128, (-128, 127)),
        (LEVELS.astype(np.uint16) * 16, (0, 4080)),
        (LEVELS / 2.55, (0, 100)),
        (LEVELS.astype(np.int32) * 1000, (0, 255_000)),
        (LEVELS / 255 / 255, (0, 1 / 255)),  # divided twice
        (LEVELS // 8, (0, 31)),
    ],
)
def test_a_range_that_is_not_plain_is_asked_for_and_then_taken(
    images: np.ndarray, range_: tuple[float, float]
) -> None:
    for given in (images, list(images)):
        with pytest.raises(DataError, match=r"Give the levels of black and white, such as range="):
            from_images(given, LABELS)
        low, high = range_
        wanted = np.rint((images - float(low)) / (high - low) * 255)
        data = from_images(given, LABELS, range=range_)
        assert pixels(data) == bytes_of(wanted)
        assert max(int(part.images_NHWC.max()) for part in data) > 250


def test_pixels_outside_of_the_range_that_was_said_are_refused() -> None:
    with pytest.raises(DataError, match="wanted pixels of 0 to 15, got int64 from 0 to 16"):
        from_images(DIGITS, LABELS, range=(0, 15))


@pytest.mark.parametrize(
    "wrong", [5, (1,), (0, 1, 2), (16, 0), (0, 0), "ab", (0, np.nan), (0, "x")]
)
def test_a_range_is_two_numbers_that_rise(wrong: Any) -> None:
    with pytest.raises(DataError, match="wanted a range of two numbers"):
        from_images(DIGITS, LABELS, range=wrong)


def test_one_range_holds_for_a_list_of_which_one_is_dark() -> None:
    floats = [one.astype(np.float64) for one in LEVELS]
    floats[3] = floats[3] / 255  # almost black, among images of 0 to 255
    assert np.rint(floats[3]).astype(np.uint8).tobytes() in pixels(from_images(floats, LABELS))


def test_parts_of_one_dtype_have_one_range() -> None:
    with pytest.raises(DataError, match=r"the same range in all parts, got .* 0 to 1, .* 0 to 255"):
        from_images(LEVELS / 255, LABELS, test=(LEVELS.astype(np.float64), LABELS))
    both = from_images(LEVELS / 255, LABELS, test=(LEVELS[:20], LABELS[:20]))
    assert bytes_of(both.test.images_NHWC) == bytes_of(LEVELS[:20])
    assert bytes_of(both.train.images_NHWC) == bytes_of(LEVELS)


def test_a_dark_set_whose_range_was_said_is_told() -> None:
    data = from_images(DIGITS, LABELS, range=(0, 255))
    assert any("nearly black: no pixel is above level 16" in note for note in data.train.notes)
    assert not any("black" in note for note in from_images(LEVELS, LABELS).train.notes)


def asked(images: np.ndarray, **words: Any) -> np.ndarray:
    (levels,), _ = levels_to_ask([images], len(images), **words)
    return levels


def test_a_trained_network_is_asked_about_what_is_plain() -> None:
    for images in (LEVELS, LEVELS / 255, LEVELS.astype(float), LEVELS.astype(np.uint16) * 257):
        assert np.array_equal(asked(images), LEVELS)
    assert np.array_equal(asked(LEVELS > 128), (LEVELS > 128) * 255)
    dark = LEVELS[:1] // 4
    assert np.array_equal(asked(dark), dark)
    assert np.array_equal(asked(dark / 255), dark)
    assert np.array_equal(asked(np.zeros((2, 4, 4))), np.zeros((2, 4, 4)))


@pytest.mark.parametrize(
    "images",
    [
        (LEVELS > 128).astype(np.uint8),
        (LEVELS[:1] > 128).astype(np.int64),
        DIGITS.astype(np.uint8),
        DIGITS[:1].astype(np.float64),
        LEVELS / 255 / 255,
        LEVELS / 255 * 2 - 1,
        LEVELS * 4.0,
        np.full((1, 4, 4), np.nan),
    ],
)
def test_a_trained_network_is_not_asked_about_the_rest(images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"range=|not a number"):
        asked(images)


def test_a_few_dark_bytes_are_taken_and_told() -> None:
    (levels,), notes = levels_to_ask([DIGITS[:2].astype(np.uint8)], 2)
    assert np.array_equal(levels, DIGITS[:2])
    assert "nearly black" in notes[0] and "range=(0, WHITE)" in notes[0]


def folder(root: Path, images: np.ndarray, suffix: str) -> Path:
    for at, image in enumerate(images):
        path = root / f"{at % 2}" / f"{at:02d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def kinds(checked: DataCheck) -> set[str]:
    return {finding.kind for finding in checked.findings if finding.severe}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("most", "bits"), [(255, 8), (4095, 12), (16_383, 14)])
def test_pictures_of_16_bits_that_use_few_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, most: int, bits: int
) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    images = RNG.integers(0, most + 1, (30, 28, 28), dtype=np.uint16)
    images[:, 0, 0] = most
    root = folder(tmp_path / "set", images, suffix)
    notes = load_own(root).train.notes
    assert any(f"(up to {2**bits - 1} of 65535)" in n and n.endswith("30 pictures") for n in notes)
    assert any("nearly black" in note for note in notes) == (bits < 14)
    assert "levels of 16 bits" in kinds(check(list_folder(root)))
    assert ("levels" in kinds(check(list_folder(root)))) == (bits < 14)


def test_what_each_picture_of_floats_was_taken_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    images = LEVELS.astype(np.float32)
    images[:10] /= 255
    notes = load_own(folder(tmp_path / "set", images, ".tif")).train.notes
    assert "float levels read as 0 to 1: 10 pictures" in notes
    assert "float levels read as 0 to 255: 20 pictures" in notes


def test_pictures_of_all_their_levels_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    root = folder(tmp_path / "deep", LEVELS.astype(np.uint16) * 257, ".png")
    folder(root, LEVELS[::-1], ".bmp")
    assert not any("dark" in n or "black" in n for n in load_own(root).train.notes)
    assert not any(kind.startswith("levels") for kind in kinds(check(list_folder(root))))


def test_a_set_that_was_spoiled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    root = folder(tmp_path / "set", LEVELS // 100, ".png")
    (finding,) = (f for f in check(list_folder(root)).findings if f.kind == "levels")
    assert finding.severe and "no pixel is above level 2 of 255" in finding.text
    assert any("no pixel is above level 2 of 255" in note for note in load_own(root).train.notes)
