"""Any picture file becomes a model's input, or an error that says what is wrong with it."""

import gzip
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, features

import firstlight.data.formats as formats
from firstlight.data.pictures import Picture, PictureSource, expand, prepare
from firstlight.errors import DataError
from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]

RNG = np.random.default_rng(11)
COLOUR_HWC = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY_HW = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def model(height: int, width: int, channels: int, polarity: str = "") -> Preprocess:
    """``polarity``: empty, ``light`` (on dark) or ``strokes`` (also centred)."""
    return Preprocess(
        height=height,
        width=width,
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        light_on_dark=polarity != "",
        centred_strokes=polarity == "strokes",
    )


MNIST = model(28, 28, 1, "strokes")


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def prepared(content: bytes, preprocess: Preprocess) -> Picture:
    return prepare(PictureSource(name="it", content=content), preprocess)


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b""
) -> bytes:
    """Return a PNG written by hand: ``rows`` with a filter byte each, after ``extra`` chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# Pixels that must be unchanged


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF", "WEBP"])
def test_colour_of_the_models_size_comes_through_bit_for_bit(format_name: str) -> None:
    options = {"lossless": True} if format_name == "WEBP" else {}
    picture = prepared(encoded(Image.fromarray(COLOUR_HWC), format_name, **options), model(5, 7, 3))

    np.testing.assert_array_equal(picture.image_HWC, COLOUR_HWC)
    assert picture.image_HWC.dtype == np.uint8
    assert picture.image_HWC.flags.writeable
    assert picture.notes == ()
    assert picture.name == "it"


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "GIF", "TIFF"])
def test_grey_of_the_models_size_comes_through_bit_for_bit(format_name: str) -> None:
    picture = prepared(encoded(Image.fromarray(GREY_HW), format_name), model(5, 7, 1))

    np.testing.assert_array_equal(picture.image_HWC, GREY_HW[..., None])
    assert picture.notes == ()


def test_a_digit_of_the_models_size_and_polarity_is_not_moved() -> None:
    off_centre_HW = np.zeros((28, 28), dtype=np.uint8)
    off_centre_HW[2:9, 20:23] = 200

    picture = prepared(encoded(Image.fromarray(off_centre_HW)), MNIST)

    np.testing.assert_array_equal(picture.image_HWC[..., 0], off_centre_HW)
    assert picture.notes == ()


# Modes


def test_colour_turns_to_grey_by_the_broadcast_weights() -> None:
    picture = prepared(encoded(Image.fromarray(COLOUR_HWC)), model(5, 7, 1))

    # ITU-R 601; Pillow computes it in 16-bit fractions.
    np.testing.assert_allclose(
        picture.image_HWC[..., 0], COLOUR_HWC @ [0.299, 0.587, 0.114], atol=0.51
    )
    assert picture.notes == ("colour turned to grey",)


def test_grey_stored_as_colour_is_no_colour() -> None:
    stored = Image.fromarray(np.repeat(GREY_HW[..., None], 3, axis=2))

    picture = prepared(encoded(stored), model(5, 7, 1))

    np.testing.assert_array_equal(picture.image_HWC[..., 0], GREY_HW)
    assert picture.notes == ()


def test_grey_is_repeated_for_a_colour_model() -> None:
    picture = prepared(encoded(Image.fromarray(GREY_HW)), model(5, 7, 3))

    for channel in range(3):
        np.testing.assert_array_equal(picture.image_HWC[..., channel], GREY_HW)
    assert picture.notes == ("grey repeated to three channels",)


def test_black_and_white_becomes_0_and_255() -> None:
    rows = bytes([0, 0b10100000, 0, 0b01100000])

    picture = prepared(png(3, 2, 1, 0, rows), model(2, 3, 1))

    assert picture.image_HWC[..., 0].tolist() == [[255, 0, 255], [0, 255, 255]]


def test_16_bit_grey_is_divided_by_257() -> None:
    rows = b"\0" + struct.pack(">3H", 0, 257, 65535) + b"\0" + struct.pack(">3H", 128, 129, 32896)

    picture = prepared(png(3, 2, 16, 0, rows), model(2, 3, 1))

    assert picture.image_HWC[..., 0].tolist() == [[0, 1, 255], [0, 1, 128]]
    assert picture.notes == ()


def test_the_transparent_level_of_16_bit_grey_is_white() -> None:
    rows = b"\0" + struct.pack(">3H", 0, 257, 65535)
    see_through = chunk(b"tRNS", struct.pack(">H", 257))

    picture = prepared(png(3, 1, 16, 0, rows, see_through), model(1, 3, 1))

    assert picture.image_HWC[..., 0].tolist() == [[0, 255, 255]]


@pytest.mark.parametrize(
    ("values", "expected", "noted"),
    [
        ([0, 7, 255], [0, 7, 255], False),
        ([0, 257, 65535], [0, 1, 255], False),
        ([-100, 0, 155], [0, 100, 255], True),
        ([0, 1_000_000, 2_000_000], [0, 128, 255], True),
    ],
)
def test_32_bit_integers_keep_their_levels_where_they_can(
    values: list[int], expected: list[int], noted: bool
) -> None:
    tiff = encoded(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")

    picture = prepared(tiff, model(1, 3, 1))

    assert picture.image_HWC[0, :, 0].tolist() == expected
    assert any("scaled" in note for note in picture.notes) is noted


@pytest.mark.parametrize(
    ("values", "expected", "noted"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255], False),
        ([0.0, 51.2, 200.0], [0, 51, 200], False),
        ([-1.0, 0.0, 1.0], [0, 128, 255], True),
        ([300.0, 300.0, 300.0], [0, 0, 0], True),
    ],
)
def test_floats_keep_their_levels_where_they_can(
    values: list[float], expected: list[int], noted: bool
) -> None:
    tiff = encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")

    picture = prepared(tiff, model(1, 3, 1))

    assert picture.image_HWC[0, :, 0].tolist() == expected
    assert any("scaled" in note for note in picture.notes) is noted


def test_a_float_picture_with_infinite_pixels_is_refused() -> None:
    tiff = encoded(Image.fromarray(np.array([[0, np.inf, np.nan]], dtype=np.float32)), "TIFF")

    with pytest.raises(DataError, match="it: some pixels are infinite"):
        prepared(tiff, model(1, 3, 1))


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_print_colours_become_screen_colours(format_name: str) -> None:
    ink = Image.new("CMYK", (7, 5), (0, 255, 255, 0))

    picture = prepared(encoded(ink, format_name), model(5, 7, 3))

    # No cyan, full magenta and yellow: red. JPEG may be off by a few levels.
    np.testing.assert_allclose(picture.image_HWC[2, 3], [255, 0, 0], atol=4)


# Transparency


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ((10, 200, 30, 255), [10, 200, 30]),
        ((10, 200, 30, 0), [255, 255, 255]),
        ((0, 255, 0, 51), [204, 255, 204]),
    ],
)
def test_transparency_is_put_over_white(pixel: tuple[int, ...], expected: list[int]) -> None:
    image = Image.new("RGBA", (7, 5), pixel)
    image.putpixel((0, 0), (0, 0, 0, 255))

    picture = prepared(encoded(image), model(5, 7, 3))

    assert picture.image_HWC[2, 3].tolist() == expected
    assert ("transparent parts drawn on white" in picture.notes) is (pixel[3] < 255)


def test_a_palettes_transparent_entry_is_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 250, 10, 20, 0, 0, 255])
    image.putdata([0, 1, 2])

    for content in (encoded(image, transparency=2), encoded(image, "GIF", transparency=2)):
        picture = prepared(content, model(1, 3, 3))
        assert picture.image_HWC.tolist() == [[[0, 0, 0], [250, 10, 20], [255, 255, 255]]]
        assert picture.notes == ("transparent parts drawn on white",)


@pytest.mark.parametrize(
    ("colour_type", "row", "see_through", "expected"),
    [
        (0, [9, 80, 200], [0, 80], [[9] * 3, [255] * 3, [200] * 3]),
        (2, [1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 4, 0, 5, 0, 6], [[1, 2, 3], [255] * 3, [7, 8, 9]]),
    ],
)
def test_a_transparent_colour_without_alpha_channel_is_white(
    colour_type: int, row: list[int], see_through: list[int], expected: list[list[int]]
) -> None:
    content = png(3, 1, 8, colour_type, bytes([0, *row]), chunk(b"tRNS", bytes(see_through)))

    picture = prepared(content, model(1, 3, 3))

    assert picture.image_HWC[0].tolist() == expected


def test_grey_with_alpha_stays_grey() -> None:
    content = png(3, 1, 8, 4, bytes([0, 9, 255, 80, 0, 100, 51]))

    picture = prepared(content, model(1, 3, 1))

    # 100 · 0.2 + 255 · 0.8 = 224.
    assert picture.image_HWC[0, :, 0].tolist() == [9, 255, 224]
    assert picture.notes == ("transparent parts drawn on white",)


def test_white_on_transparent_is_put_over_black() -> None:
    content = png(3, 1, 8, 4, bytes([0, 255, 255, 255, 0, 255, 0]))

    picture = prepared(content, model(1, 3, 1))

    assert picture.image_HWC[0, :, 0].tolist() == [255, 0, 0]
    assert "on black" in picture.notes[0]


# Rotation, and many at once


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_taken_sideways_is_turned_upright(format_name: str) -> None:
    stored = Image.new("RGB", (48, 32), "white")
    stored.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # "the 0th row is the right-hand side": to be turned clockwise

    picture = prepared(encoded(stored, format_name, exif=exif), model(48, 32, 3))

    # The stored top left corner is the upright picture's top right one; JPEG is lossy.
    np.testing.assert_allclose(picture.image_HWC[4, 27], [255, 0, 0], atol=12)
    np.testing.assert_allclose(picture.image_HWC[4, 4], [255, 255, 255], atol=12)


def test_a_picture_with_damaged_exif_is_still_a_picture() -> None:
    content = encoded(Image.fromarray(COLOUR_HWC), exif=b"Exif\0\0II*\0\xff\xff\xff\xffrest")

    np.testing.assert_array_equal(prepared(content, model(5, 7, 3)).image_HWC, COLOUR_HWC)


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_frames_the_first_is_used(format_name: str) -> None:
    frames = [Image.new("RGB", (7, 5), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], format_name, save_all=True, append_images=frames[1:])

    picture = prepared(content, model(5, 7, 3))

    # Lossy WebP is off by a few levels.
    np.testing.assert_allclose(picture.image_HWC[2, 3], [255, 0, 0], atol=4)
    assert picture.notes == ("first frame of 3",)


def test_of_a_file_with_thousands_of_pictures_no_more_than_a_thousand_are_counted() -> None:
    """Counting all would take a second per megabyte of such a TIFF."""
    dot = Image.new("L", (1, 1))
    content = encoded(dot, "TIFF", save_all=True, append_images=[dot] * 1500)

    notes = prepared(content, model(28, 28, 1)).notes

    assert notes[0] == "first frame of 1000 or more"


# Fitting


def test_a_colour_model_gets_the_middle_of_a_wide_picture() -> None:
    stripes_HWC = np.zeros((40, 120, 3), dtype=np.uint8)
    stripes_HWC[:, :40, 0] = stripes_HWC[:, 40:80, 1] = stripes_HWC[:, 80:, 2] = 250

    picture = prepared(encoded(Image.fromarray(stripes_HWC)), model(8, 8, 3))

    assert np.unique(picture.image_HWC.reshape(-1, 3), axis=0).tolist() == [[0, 250, 0]]
    assert picture.notes == ("middle 40 × 40 of 120 × 40",)


def test_shrinking_averages_instead_of_skipping() -> None:
    checks_HW = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)

    for preprocess in (model(8, 8, 1), model(8, 8, 3)):
        image_HWC = prepared(encoded(Image.fromarray(checks_HW)), preprocess).image_HWC
        # Between black and white; skipping pixels would give one of the two.
        np.testing.assert_allclose(image_HWC, 127.5, atol=2)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2), (29, 28)])
@pytest.mark.parametrize("polarity", ["", "light", "strokes"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_is_accepted(size: tuple[int, int], polarity: str, channels: int) -> None:
    image = Image.new("RGB", size, (12, 120, 220))
    preprocess = model(28, 20, channels, polarity)

    picture = prepared(encoded(image), preprocess)

    assert picture.image_HWC.shape == (28, 20, channels)
    assert picture.image_HWC.dtype == np.uint8


def test_dark_on_light_of_the_models_size_is_inverted_and_nothing_else() -> None:
    light_HW = np.zeros((28, 28), dtype=np.uint8)
    light_HW[2:9, 20:23] = 200

    picture = prepared(encoded(Image.fromarray(255 - light_HW)), MNIST)

    np.testing.assert_array_equal(picture.image_HWC[..., 0], light_HW)
    assert picture.notes == ("inverted (dark on light) to match the training images",)


def test_a_colour_model_keeps_the_polarity() -> None:
    light_HWC = np.full((5, 7, 3), 240, dtype=np.uint8)
    light_HWC[2, 3] = 10

    picture = prepared(encoded(Image.fromarray(light_HWC)), model(5, 7, 3))

    np.testing.assert_array_equal(picture.image_HWC, light_HWC)


def test_a_pen_stroke_is_fitted_like_mnists() -> None:
    page_HWC = np.full((300, 400, 3), (250, 245, 230), dtype=np.uint8)
    page_HWC[100:200, 40:80] = (20, 30, 120)

    picture = prepared(encoded(Image.fromarray(page_HWC)), MNIST)

    # 100 × 40 pixels become 20 × 8 in the middle of 28 × 28.
    expected_HW = np.zeros((28, 28), dtype=np.uint8)
    expected_HW[4:24, 10:18] = 255
    np.testing.assert_array_equal(picture.image_HWC[..., 0], expected_HW)
    assert picture.notes == (
        "colour turned to grey",
        "inverted (dark on light) to match the training images",
        "fitted and centred like MNIST",
    )


def test_a_blank_page_says_that_there_is_no_stroke() -> None:
    picture = prepared(encoded(Image.new("L", (60, 40), 230)), MNIST)

    assert not picture.image_HWC.any()
    assert "no stroke found: the picture is blank" in picture.notes


def test_without_centring_the_whole_picture_is_kept_on_black() -> None:
    page_HW = np.full((40, 80), 220, dtype=np.uint8)
    page_HW[:, :10] = 0  # up to the very edge: nothing is cut off

    picture = prepared(encoded(Image.fromarray(page_HW)), model(8, 8, 1, "light"))

    expected_HW = np.zeros((8, 8), dtype=np.uint8)
    expected_HW[2:6, 0] = 255
    np.testing.assert_array_equal(picture.image_HWC[..., 0], expected_HW)
    assert "background set to black" in picture.notes


def test_an_enlarged_digit_comes_back_exactly() -> None:
    from sklearn.datasets import load_digits

    digits_NHW = (load_digits().images[:50] * 255 / 16).astype(np.uint8)
    preprocess = model(8, 8, 1, "light")

    for digit_HW in digits_NHW:
        enlarged = Image.fromarray(255 - digit_HW).resize((56, 56), Image.Resampling.NEAREST)
        picture = prepared(encoded(enlarged), preprocess)
        np.testing.assert_array_equal(picture.image_HWC[..., 0], digit_HW)


# MNIST itself


def mnist_test_images() -> UInt8Array:
    """Return uint8 10000×28×28, parsed by hand from the published file."""
    path = Path(os.environ.get("FIRSTLIGHT_DATA", ""), "mnist", "t10k-images-idx3-ubyte.gz")
    if not path.is_file():
        pytest.skip("MNIST was not found under FIRSTLIGHT_DATA")
    raw = gzip.decompress(path.read_bytes())
    return np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(-1, 28, 28)


@pytest.mark.real_data
def test_every_mnist_test_image_comes_through_bit_for_bit() -> None:
    images_NHW = mnist_test_images()

    assert len(images_NHW) == 10_000
    for digit_HW in images_NHW:
        # BMP is the fastest to write.
        picture = prepared(encoded(Image.fromarray(digit_HW), "BMP"), MNIST)
        assert picture.notes == ()
        assert np.array_equal(picture.image_HWC[..., 0], digit_HW)


@pytest.mark.real_data
@pytest.mark.parametrize(
    # Mean absolute difference in levels of 255. The mean level is 31, and an image and itself moved
    # by one pixel are 16.4 apart. Measured on these 100: 2.4, 6.4 (the curve between the pixels
    # blurs them) and 7.3.
    ("method", "shaded", "tolerance"),
    [
        (Image.Resampling.NEAREST, False, 4.0),
        (Image.Resampling.BICUBIC, False, 8.0),
        (Image.Resampling.BICUBIC, True, 9.0),
    ],
)
def test_mnist_digits_on_a_large_page_come_back_close(
    method: Image.Resampling, shaded: bool, tolerance: float
) -> None:
    rng = np.random.default_rng(0)
    differences = []
    for digit_HW in mnist_test_images()[:100]:
        enlarged_HW = np.asarray(Image.fromarray(255 - digit_HW).resize((280, 280), method))
        page_HW = np.pad(enlarged_HW, ((60, 160), (200, 40)), constant_values=255)
        if shaded:
            y_HW, x_HW = np.indices(page_HW.shape) / 500
            photo_HW = page_HW * 0.7 + 20 + 30 * x_HW - 25 * y_HW
            photo_HW += rng.normal(0, 5, page_HW.shape)
            page_HW = photo_HW.clip(0, 255).astype(np.uint8)
        picture = prepared(encoded(Image.fromarray(page_HW), "BMP"), MNIST)
        assert picture.notes == (
            "inverted (dark on light) to match the training images",
            "fitted and centred like MNIST",
        )
        differences.append(np.abs(picture.image_HWC[..., 0].astype(int) - digit_HW).mean())

    assert np.mean(differences) < tolerance


# Refused files


def test_text_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture at all")

    with pytest.raises(DataError, match=r"notes\.png: not a picture; PNG, JPEG"):
        prepare(expand([str(path)])[0], MNIST)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns=''></svg>", "SVG"),
        (b"\x89PNG\r\n\x1a\n\0\0", "starts like a PNG picture, but is damaged"),
    ],
)
def test_a_file_of_another_kind_is_told_by_name(start: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        prepared(start + bytes(20), MNIST)


def test_formats_beyond_the_named_ones_are_refused() -> None:
    with pytest.raises(DataError, match="not a picture; PNG, JPEG"):
        prepared(encoded(Image.fromarray(GREY_HW), "TGA"), MNIST)


@pytest.mark.parametrize(
    "text",
    [
        b"P5 # a comment\n7 5\n255\n" + GREY_HW.tobytes(),
        b"P2\n7 5\n255\n" + " ".join(map(str, GREY_HW.ravel())).encode(),
        b"P5 7 5 65535\n" + (GREY_HW.astype(">u2") * 257).tobytes(),
    ],
)
def test_pgm_of_each_kind_is_read_level_by_level(text: bytes) -> None:
    assert np.array_equal(prepared(text, model(5, 7, 1)).image_HWC[..., 0], GREY_HW)


def test_a_dark_pgm_of_16_bits_stays_dark() -> None:
    dark = b"P5 7 5 65535\n" + np.full((5, 7), 250, ">u2").tobytes()
    assert (prepared(dark, model(5, 7, 1)).image_HWC == 1).all()  # 250 of 65535 is 0.97 of 255


def test_ppm_is_read_in_colour() -> None:
    pixels = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)
    ppm = b"P6 7 5 255\n" + pixels.tobytes()
    assert np.array_equal(prepared(ppm, model(5, 7, 3)).image_HWC, pixels)


def test_heic_is_read_with_its_extra_and_told_without(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    flat = Image.new("RGB", (64, 48), (200, 40, 40))
    pillow_heif.from_pillow(flat).save(out, quality=90)
    seen = prepared(out.getvalue(), model(48, 64, 3)).image_HWC.astype(int)
    assert abs(seen - (200, 40, 40)).max() < 12

    monkeypatch.setattr(formats, "_reads_heic", lambda: False)
    with pytest.raises(DataError, match=r"HEIC picture: install firstlight\[heic\]"):
        prepared(out.getvalue(), model(48, 64, 3))


def test_a_damaged_heic_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="HEIC"):
        prepared(b"\0\0\0\x18ftypheic" + bytes(20), MNIST)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    flat = Image.new("RGB", (32, 32), (20, 200, 40))
    seen = prepared(encoded(flat, "AVIF"), model(32, 32, 3)).image_HWC.astype(int)
    assert abs(seen - (20, 200, 40)).max() < 12


def test_an_empty_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "none.jpg").touch()

    with pytest.raises(DataError, match=r"none\.jpg: the file is empty"):
        prepare(expand([str(tmp_path / "none.jpg")])[0], MNIST)


@pytest.mark.parametrize("side", [9_000, 100_000, 2**31 - 1])
def test_a_huge_picture_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(DataError, match="more than 67 megapixels"):
        prepared(png(side, side, 8, 0, b""), MNIST)


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    for name, reason in [("gone.png", "no such file"), ("pipe.png", "not a regular file")]:
        with pytest.raises(DataError, match=f"{name}: .*{reason}"):
            prepare(expand([str(tmp_path / name)])[0], MNIST)
    with pytest.raises(DataError, match="got a folder"):
        prepare(PictureSource(name="a", content=tmp_path), MNIST)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "closed.png"
    path.write_bytes(encoded(Image.fromarray(GREY_HW)))
    path.chmod(0)

    with pytest.raises(DataError, match="no permission"):
        prepare(expand([str(path)])[0], MNIST)


def test_no_permission_is_told_whoever_runs_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "closed.png"
    path.write_bytes(encoded(Image.fromarray(GREY_HW)))

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"closed\.png: no permission"):
        prepare(expand([str(path)])[0], MNIST)


VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "packed tiff": ("TIFF", {"compression": "tiff_lzw"}),
}
NOISE = Image.fromarray(RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_picture_cut_short_is_an_error_or_whole(variant: str) -> None:
    format_name, options = VARIANTS[variant]
    content = encoded(NOISE, format_name, **options)
    preprocess = model(23, 31, 3)
    whole_HWC = prepared(content, preprocess).image_HWC

    refused = 0
    for length in [*range(0, len(content), 37), *range(len(content) - 24, len(content))]:
        try:
            cut_HWC = prepared(content[:length], preprocess).image_HWC
        except DataError as error:
            refused += 1
            assert str(error).startswith("it: ")
        else:
            # Only a trailer after the last pixel may be missing.
            assert len(content) - length <= 20
            np.testing.assert_array_equal(cut_HWC, whole_HWC)

    assert refused >= len(content) // 37


# Damaged bytes give an error of one kind, or a picture

BYTES = {name: encoded(NOISE, kind, **options) for name, (kind, options) in VARIANTS.items()}
BYTES["palette"] = encoded(NOISE.convert("P"), transparency=bytes(range(0, 256, 2)))
BYTES["16 bit"] = encoded(Image.fromarray(np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000))
BYTES["alpha"] = encoded(NOISE.convert("RGBA"), "TIFF")


def outcome(content: bytes) -> list[str]:
    """Return a file's outcome for two models, ``refused`` or ``taken``, and what is wrong with
    it."""
    came = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for preprocess in (MNIST, model(6, 10, 3)):
            try:
                picture = prepared(content, preprocess)
            except DataError as error:
                came.append("refused" if str(error).startswith("it: ") else str(error))
            else:
                shape = picture.image_HWC.shape
                came.append("taken" if shape == preprocess.image_shape else f"taken as {shape}")
    return came + [str(warning.message) for warning in caught]


REFUSED, TAKEN = ["refused"] * 2, ["taken"] * 2


# No deadline: how long one example takes depends on the machine.
@settings(deadline=None, max_examples=150)
@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0"]),
    rest=st.binary(max_size=200),
)
@example(start=b"", rest=b"")
def test_random_bytes_raise_nothing_but_data_errors(start: bytes, rest: bytes) -> None:
    assert outcome(start + rest) in (REFUSED, TAKEN)


@settings(deadline=None, max_examples=250)
@given(
    name=st.sampled_from(sorted(BYTES)),
    place=st.floats(0, 1, exclude_max=True),
    patch=st.binary(max_size=6),
    keep=st.just(1.0) | st.floats(0, 1),
)
def test_damaged_pictures_raise_nothing_but_data_errors(
    name: str, place: float, patch: bytes, keep: float
) -> None:
    content = bytearray(BYTES[name])
    # Cubed, so that headers are hit as often as pixels.
    at = int(place**3 * len(content))
    content[at : at + len(patch)] = patch
    assert outcome(bytes(content[: int(keep**0.2 * len(content)) + 1])) in (REFUSED, TAKEN)


# Finding pictures


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a current folder with pictures and other files."""
    names = ["b.png", "a.JPG", "über uns/ein Bild.png", "deep/er/c.tiff", "x[1].png"]
    others = ["n.png:large", ".hidden.png", ".cache/d.png", "deep/.e.png", "empty/readme.md"]
    for name in [*names, *others]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(GREY_HW)))
    (tmp_path / "empty" / "readme.md").write_text("P2 is not enough")
    (tmp_path / "BMW.txt").write_text("BM" * 20)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*words: str) -> list[str]:
    return [source.name for source in expand(words) if not source.problem]


@pytest.mark.usefixtures("album")
def test_a_folder_stands_for_the_pictures_below_it_in_order() -> None:
    names = ["a.JPG", "b.png", "deep/er/c.tiff", "n.png:large", "x[1].png", "über uns/ein Bild.png"]
    assert found(".") == names
    assert found("deep", "über uns/") == ["deep/er/c.tiff", "über uns/ein Bild.png"]


def test_a_folder_named_by_its_whole_path_gives_whole_paths(album: Path) -> None:
    assert found(str(album / "deep")) == [str(album / "deep/er/c.tiff")]


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["b.png", "x[1].png"]),
        ("*", ["a.JPG", "b.png", "n.png:large", "x[1].png"]),
        ("*/*.png", ["über uns/ein Bild.png"]),
        ("**/*.png", ["b.png", "x[1].png", "über uns/ein Bild.png"]),
        ("deep/**", ["deep/er/c.tiff"]),
        ("[ab].*", ["a.JPG", "b.png"]),
        (".cache/*", [".cache/d.png"]),
        (".h*", [".hidden.png"]),
    ],
)
def test_a_pattern_stands_for_the_pictures_it_matches(pattern: str, names: list[str]) -> None:
    assert found(pattern) == names


def test_a_pattern_may_begin_at_the_root(album: Path) -> None:
    assert found(f"{album}/d*/*/*.tiff") == [str(album / "deep/er/c.tiff")]


@pytest.mark.usefixtures("album")
def test_a_file_is_taken_by_its_name_whatever_it_looks_like() -> None:
    names = ["./x[1].png", ".hidden.png", "n.png:large", "über uns/ein Bild.png"]

    sources = expand(names)

    assert [source.name for source in sources] == names
    for source in sources:
        np.testing.assert_array_equal(prepare(source, model(5, 7, 1)).image_HWC[..., 0], GREY_HW)


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("*.webp", "no picture matches"),
        ("empty", "no pictures in this folder"),
        ("gone.png", "no such file"),
        ("a\0b", "cannot be|no such"),
        ("a" * 5000, "cannot be|no such"),
    ],
)
def test_a_word_that_stands_for_nothing_does_not_stop_the_others(word: str, reason: str) -> None:
    first, second = expand([word, "b.png"])

    with pytest.raises(DataError, match=reason):
        prepare(first, MNIST)
    assert prepare(second, MNIST).name == "b.png"


def test_a_minus_is_one_picture_on_standard_input() -> None:
    stdin = io.BytesIO(encoded(Image.fromarray(GREY_HW)))

    first, second = expand(["-", "-"], stdin)

    np.testing.assert_array_equal(prepare(first, model(5, 7, 1)).image_HWC[..., 0], GREY_HW)
    assert first.name == "-"
    with pytest.raises(DataError, match=r"-: standard input holds no"):
        prepare(second, MNIST)
    with pytest.raises(DataError, match=r"-: standard input holds no"):
        prepare(expand(["-"])[0], MNIST)
    with pytest.raises(DataError, match=r"-: .*empty"):
        prepare(expand(["-"], io.BytesIO())[0], MNIST)


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(path)).write_bytes(encoded(Image.fromarray(GREY_HW)))

    (source,) = expand([str(tmp_path)])

    assert source.name.encode().decode().endswith("caf�.png")
    assert prepare(source, model(5, 7, 1)).image_HWC.shape == (5, 7, 1)
