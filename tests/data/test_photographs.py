"""Digits on ruled, squared and framed paper are read, and straight strokes are never taken for
rules.

The photographs have other lines, papers and light than those the search was developed on. Axes: H
height, W width.
"""

import gzip
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw
from tests.data.photographs import CHECK, photographs
from tests.data.test_strokes import distance
from tests.serve.redrawn import redrawn

from firstlight.data.pictures import PictureSource, prepare
from firstlight.data.strokes import Fitted, find_ink, fit_stroke
from firstlight.evaluate.prediction import Prediction
from firstlight.model import Model, open_model
from firstlight.pixels import Preprocess
from firstlight.runs.box import boxed_folder
from firstlight.verbs.predict import predict_pictures

UInt8Array = npt.NDArray[np.uint8]

COUNT = 15
LEAST_RIGHT = {
    "ruled": 0.8,
    "squared": 0.8,
    "dark frame": 0.8,
    "thin pen": 0.8,
    "ruled, dark frame": 0.6,
    "table edge": 0.8,
    "box": 0.8,
    "chalk, ruled": 0.8,
    "blank": 0.85,
}
"""Smallest share of each kind's photographs with the right answer rather than "unknown"."""


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(boxed_folder("mnist"))


@pytest.fixture(scope="module")
def digits() -> tuple[UInt8Array, UInt8Array]:
    """Return MNIST's test images with odd numbers, uint8 5000×28×28, and their labels."""
    folder = Path(os.environ.get("FIRSTLIGHT_DATA", ""), "mnist")
    files = [folder / f"t10k-{what}.gz" for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if not all(path.is_file() for path in files):
        pytest.skip("MNIST was not found under FIRSTLIGHT_DATA")
    images, labels = (np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8) for path in files)
    return images[16:].reshape(-1, 28, 28)[1::2], labels[8:][1::2]


def answers(model: Model, photos: list[tuple[bytes, int]]) -> list[Prediction]:
    sources = [PictureSource(name=str(number), content=content) for content, number in photos]
    return predict_pictures(model, sources)


def fitted(grey_HW: UInt8Array) -> Fitted:
    found = fit_stroke(grey_HW, 28, 28)
    assert found is not None
    return found


@pytest.mark.real_data
@pytest.mark.parametrize("kind", LEAST_RIGHT)
def test_photographs_of_a_digit_are_read(
    kind: str, model: Model, digits: tuple[UInt8Array, UInt8Array]
) -> None:
    images_NHW, labels_N = digits
    found = answers(model, photographs(kind, images_NHW, CHECK, COUNT))

    right = sum(answer.answer == str(labels_N[int(answer.name)]) for answer in found)

    assert right >= LEAST_RIGHT[kind] * COUNT


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("ruled", "rule lines removed"),
        ("one line", "1 rule line removed"),
        ("dark frame", "cropped to the paper inside its frame"),
    ],
)
def test_the_notes_say_what_was_taken_away(
    kind: str, note: str, model: Model, digits: tuple[UInt8Array, UInt8Array]
) -> None:
    found = answers(model, photographs(kind, digits[0], CHECK, 6))

    assert sum(any(note in told for told in answer.notes) for answer in found) >= 5


@pytest.mark.real_data
@pytest.mark.parametrize("kind", ["blank", "thin pen", "marker", "chalk"])
def test_nothing_is_taken_from_plain_paper(
    kind: str, model: Model, digits: tuple[UInt8Array, UInt8Array]
) -> None:
    found = answers(model, photographs(kind, digits[0], CHECK, 6))

    assert not any("removed" in note or "frame" in note for it in found for note in it.notes)


def page(
    points: list[tuple[float, float]], pen: int = 20, size: tuple[int, int] = (400, 300)
) -> UInt8Array:
    """Return H×W, a line of ``pen`` pixels through the points (x, y as shares) on white paper."""
    height, width = size
    image = Image.new("L", (width, height), 255)
    ends = [(x * width, y * height) for x, y in points]
    ImageDraw.Draw(image).line(ends, fill=20, width=pen, joint="curve")
    return np.array(image)


STRAIGHT = {
    "1": [(0.5, 0.1), (0.5, 0.9)],
    "slanted 1": [(0.6, 0.1), (0.4, 0.9)],
    "1 with a foot": [(0.5, 0.1), (0.5, 0.9), (0.25, 0.9), (0.75, 0.9)],
    "4": [(0.65, 0.9), (0.65, 0.1), (0.2, 0.6), (0.85, 0.6)],
    "7": [(0.2, 0.1), (0.8, 0.1), (0.4, 0.9)],
    "minus": [(0.2, 0.5), (0.8, 0.5)],
}


@pytest.mark.parametrize("pen", [4, 20])
@pytest.mark.parametrize("name", STRAIGHT)
@pytest.mark.parametrize("cropped", [False, True])
def test_straight_strokes_are_no_rules(name: str, pen: int, cropped: bool) -> None:
    grey_HW = page(STRAIGHT[name], pen)
    if cropped:
        rows, columns = (np.flatnonzero((grey_HW < 128).any(axis=axis)) for axis in (1, 0))
        grey_HW = grey_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        grey_HW = np.pad(grey_HW, 1, constant_values=255)

    found = fit_stroke(grey_HW, 28, 28)

    if cropped and name in ("1", "minus"):  # almost all of the picture
        # A bar that fills its picture may be ink or background; no result is asserted here.
        assert found is None or not (found.rules or found.framed)
        return
    assert found is not None and not (found.rules or found.framed)
    sides = found.image_HW.any(axis=1), found.image_HW.any(axis=0)
    assert max(side.sum() for side in sides) == 20  # all of it fills MNIST's box


def test_a_stroke_that_leaves_the_picture_is_no_rule() -> None:
    grey_HW = page([(0.5, -0.1), (0.5, 1.1)])

    found = fitted(grey_HW)

    assert not found.rules
    assert found.image_HW.any()


@pytest.mark.parametrize(("pen", "thick"), [(20, 5), (20, 3), (5, 5)])
def test_a_stroke_that_crosses_rules_of_its_own_colour_stays_whole(pen: int, thick: int) -> None:
    plain_HW = page(STRAIGHT["7"], pen)
    ruled_HW = plain_HW.copy()
    for row in range(15, 400, 47):
        ruled_HW[row : row + thick] = 20

    ruled, ink = fitted(ruled_HW), find_ink(ruled_HW)

    assert ruled.rules == 9
    assert distance(fitted(plain_HW).image_HW, ruled.image_HW) < 6
    assert ink is not None
    # Nothing of the stem is lost, except what the edge of a rule takes from an equally thin pen.
    kept = (ink.level_HW > 0.5)[plain_HW < 100].mean()
    assert kept > (0.97 if pen > thick else 0.8)


def test_rules_in_both_directions_and_a_margin_are_counted() -> None:
    grey_HW = page(STRAIGHT["7"])
    paper_HW = np.full_like(grey_HW, 255)
    for row in range(25, 400, 50):
        paper_HW[row : row + 2] = 120
    for column in range(20, 300, 50):
        paper_HW[:, column : column + 2] = 120

    found = fitted(np.minimum(grey_HW, paper_HW))

    assert found.rules == 8 + 6
    assert distance(found.image_HW, fitted(grey_HW).image_HW) < 3


def test_paper_within_a_frame_gives_the_digit_on_it() -> None:
    plain_HW = page(STRAIGHT["4"])
    for width in (25, 60, 150):
        found = fitted(np.pad(plain_HW, width, constant_values=30))

        assert found.framed
        assert distance(found.image_HW, fitted(plain_HW).image_HW) < 2


@pytest.mark.parametrize("pen", [20, 40, 60])
def test_a_zero_is_no_frame(pen: int) -> None:
    image = Image.new("L", (280, 280))
    ImageDraw.Draw(image).ellipse((40, 10, 240, 270), outline=255, width=pen)
    square = Image.new("L", (280, 280))
    ImageDraw.Draw(square).rounded_rectangle((40, 10, 240, 270), 60, outline=255, width=pen)

    for drawing in (image, square):
        assert not fitted(np.asarray(drawing)).framed
        assert not fitted(255 - np.asarray(drawing)).framed


@pytest.mark.real_data
def test_drawings_on_the_page_and_several_digits_are_as_they_were(
    digits: tuple[UInt8Array, UInt8Array],
) -> None:
    rng = np.random.default_rng(3)
    for first, second in digits[0][:60].reshape(30, 2, 28, 28):
        drawing = np.asarray(redrawn(first, rng))
        pair = np.asarray(Image.fromarray(np.hstack([first, second])).resize((560, 280)))
        for grey_HW in (drawing, 255 - drawing, pair, 255 - pair):
            found = fitted(grey_HW)
            assert not found.rules and not found.framed


def test_a_picture_without_a_sheet_or_a_stroke_is_not_called_blank() -> None:
    preprocess = Preprocess(
        height=28,
        width=28,
        channels=1,
        mean=(0.0,),
        std=(1.0,),
        light_on_dark=True,
        centred_strokes=True,
    )
    oval = Image.new("L", (300, 300), 20)
    ImageDraw.Draw(oval).ellipse((5, 5, 295, 295), fill=230)

    told, blank = (
        prepare(PictureSource(name="it", content=image), preprocess).notes
        for image in (oval, Image.new("L", (300, 300), 230))
    )

    assert "no stroke found: crop the picture to the digit, with some paper around it" in told
    assert "no stroke found: the picture is blank" in blank
