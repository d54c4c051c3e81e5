"""Pictures of millions of pixels: shrunk while reading, in little memory."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from firstlight.data.decode import BYTES_PER_PIXEL, Bounds, decode
from firstlight.data.pictures import ENOUGH_SIDE, PictureSource, prepare
from firstlight.errors import DataError
from firstlight.pixels import Preprocess

FloatArray = npt.NDArray[np.float64]
ENOUGH = Bounds(enough=400)
"""Makes small pictures count as large."""


def file(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def means(values_HWC: FloatArray, factor: int) -> FloatArray:
    """Return the mean of each factor × factor block, with smaller blocks at the edges."""
    height, width = values_HWC.shape[:2]
    return np.array(
        [
            [
                values_HWC[top : top + factor, left : left + factor].mean(axis=(0, 1))
                for left in range(0, width, factor)
            ]
            for top in range(0, height, factor)
        ]
    )


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firstlight.data.decode.TILE", 16)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "CMYK", "I;16", "F", "RGBA", "LA"])
def test_each_pixel_is_the_mean_of_those_it_stands_for(mode: str) -> None:
    rgb, grey = noise(67, 91, 3), noise(67, 91)
    images: dict[str, Callable[[], Image.Image]] = {
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(grey.astype(np.float32) * 2 - 255),
        "RGBA": lambda: Image.fromarray(noise(67, 91, 4)),
        "LA": lambda: Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey.T.copy().T)]),
    }
    image = images.get(mode, lambda: Image.fromarray(rgb).convert(mode))()
    notes: list[str] = []
    small = np.asarray(decode("a", image, notes, ENOUGH), dtype=np.float64)
    # 67 × 91 is fifteen times 400 pixels: a third of each side is the most that leaves as many.
    whole = {
        "I;16": lambda: grey.astype(np.float64),
        "F": lambda: (grey - float(grey.min())) * 255 / (int(grey.max()) - int(grey.min())),
        "RGBA": lambda: _over_white(np.asarray(image, dtype=np.float64)),
        "LA": lambda: _over_white(np.asarray(image, dtype=np.float64))[..., 0],
    }.get(mode, lambda: np.asarray(image.convert("L" if mode in "1L" else "RGB"), np.float64))()
    expected = means(whole, 3)
    assert small.shape == expected.shape == (23, 31, *whole.shape[2:])
    assert np.abs(small - expected).max() <= (2 if mode in ("RGBA", "LA") else 1)
    assert "reduced from 91 × 67 to 31 × 23" in notes


def _over_white(values_HWC: FloatArray) -> FloatArray:
    alpha_HW1 = values_HWC[..., -1:] / 255
    return values_HWC[..., :-1] * alpha_HW1 + 255 * (1 - alpha_HW1)


@pytest.mark.usefixtures("small_tiles")
def test_what_is_transparent_does_not_bleed_into_what_is_not() -> None:
    pixels_HWC = np.zeros((40, 40, 4), dtype=np.uint8)
    pixels_HWC[:, 1::2] = (200, 100, 50, 255)  # between columns of transparent black
    small = np.asarray(decode("a", file(Image.fromarray(pixels_HWC)), [], ENOUGH))
    assert np.abs(small.astype(int) - [227, 177, 152]).max() <= 1  # half of it, half white


def test_one_less_than_four_times_as_large_is_read_as_it_is() -> None:
    image = Image.fromarray(noise(39, 41, 3))  # 1,599 pixels
    assert np.array_equal(np.asarray(decode("a", file(image), [], ENOUGH)), np.asarray(image))
    assert decode("a", Image.fromarray(noise(40, 40)), [], ENOUGH).size == (20, 20)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    image = Image.fromarray(np.kron(noise(4, 6), np.full((8, 8), 1, dtype=np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file(image.convert("RGB"), kind, exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"), dtype=int)
    got = np.asarray(decode("a", content, []), dtype=int)
    assert np.array_equal(got, expected)
    reduced = np.asarray(decode("a", content, [], Bounds(enough=12 * 8)), dtype=int)
    small = means(expected.astype(np.float64), 4)
    assert reduced.shape == small.shape
    assert np.abs(reduced - small).max() <= (1 if kind != "JPEG" else 12)


@pytest.mark.parametrize("cut", [0.4, 0.9])
def test_a_large_jpeg_cut_short_is_an_error(cut: float) -> None:
    content = file(Image.fromarray(noise(200, 200, 3)), "JPEG")
    with pytest.raises(DataError, match="damaged or truncated"):
        decode("a", content[: int(len(content) * cut)], [], ENOUGH)


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (2, 3000), (3000, 7)])
def test_any_large_size_is_accepted(size: tuple[int, int]) -> None:
    assert min(decode("a", Image.new("RGBA", size, (1, 2, 3, 4)), [], ENOUGH).size) >= 1


def test_a_models_picture_of_millions_of_pixels_is_as_of_the_same_made_smaller() -> None:
    grey = Image.fromarray(noise(16, 16)).resize((2400, 2400), Image.Resampling.BICUBIC)
    model = Preprocess(height=28, width=28, channels=1, mean=(0.0,), std=(1.0,))
    large, less = (
        prepare(PictureSource(name="a", content=picture), model)
        for picture in (file(grey), file(grey.reduce(2)))
    )
    assert "reduced from 2400 × 2400 to 1200 × 1200" in large.notes
    assert np.abs(large.image_HWC.astype(int) - less.image_HWC).max() <= 1
    assert ENOUGH_SIDE == 1024


def test_memory_is_asked_for_by_the_header_before_anything_is_decoded() -> None:
    asked: list[int] = []

    @contextmanager
    def memory(count: int) -> Iterator[None]:
        asked.append(count)
        yield

    content = file(Image.new("RGBA", (100, 50)))
    decode("a", content, [], Bounds(memory=memory))
    assert asked[0] >= 100 * 50 * 4
    with pytest.raises(DataError, match="megapixels"):
        decode("a", content, [], Bounds(pixels=4999, memory=memory))
    assert len(asked) == 1


PROGRAM = """
import sys
from pathlib import Path
from firstlight.data.decode import Bounds, decode, _memory
from PIL import Image

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(l for l in lines if l.startswith(name)).split()[1]) * 1024

decode("warm", Image.new("RGBA", (2000, 2000)), [], Bounds(enough=2**20))
content = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
asked = []
class Asked:
    def __init__(self, count): asked.append(count)
    def __enter__(self): pass
    def __exit__(self, *_): pass
decode("a", content, [], Bounds(enough=2**20, memory=Asked))
print(status("VmHWM") - before, asked[0])
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
@pytest.mark.parametrize("kind", sorted(BYTES_PER_PIXEL.keys() - {"MPO"}))  # a JPEG
def test_decoding_takes_no_more_memory_than_it_asks_for(kind: str, tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (4000, 4000), (10, 200, 30, 128))
    rgba.paste((255, 0, 0, 255), (500, 500, 3000, 900))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "PNG": (rgba, {"exif": exif, "compress_level": 1}),
        "JPEG": (rgba.convert("CMYK"), {"progressive": True, "subsampling": 0}),
        "WEBP": (rgba, {"lossless": True, "method": 0, "exif": exif}),
        "BMP": (rgba, {}),
        "GIF": (rgba.convert("P"), {"transparency": 0}),
        "PPM": (Image.fromarray(np.full((4000, 4000), 7, dtype=np.uint16)), {}),
        "AVIF": (rgba, {"speed": 10}),
        "TIFF": (Image.new("F", rgba.size, -3.0), {"compression": "tiff_deflate"}),
    }
    image, settings = kinds[kind]
    path = tmp_path / "picture"
    image.save(path, kind, **settings)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took, asked = map(int, done.stdout.split())
    assert took <= asked
    # Half a gigabyte is enough for two pictures of common formats.
    assert asked <= (256 if kind in ("PNG", "JPEG", "GIF", "BMP") else 512) * 1024**2
