"""Strokes are found on any paper and placed as in MNIST. H height, W width."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from firstlight.data.strokes import (
    find_ink,
    fit_stroke,
    ground_level,
    is_dark_on_light,
    otsu,
    stroke_width,
)

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]

HEIGHT, WIDTH = 200, 300


def seven(pen: int = 14, at: tuple[int, int] = (120, 50)) -> Float64Array:
    """Return H×W, 1 on the stroke of a 7 about 60 pixels wide and 90 tall, 0 elsewhere."""
    mask = Image.new("L", (WIDTH, HEIGHT))
    x, y = at
    points = [(x, y), (x + 60, y), (x + 20, y + 90)]
    ImageDraw.Draw(mask).line(points, fill=255, width=pen, joint="curve")
    return np.asarray(mask) / 255


def on_paper(ink_HW: Float64Array, paper: Float64Array | float = 255, ink: float = 0) -> UInt8Array:
    return np.rint(paper * (1 - ink_HW) + ink * ink_HW).clip(0, 255).astype(np.uint8)


def fitted(grey_HW: UInt8Array) -> UInt8Array:
    found = fit_stroke(grey_HW, 28, 28)
    assert found is not None
    return found.image_HW


def centre_of_mass(image_HW: UInt8Array) -> tuple[float, float]:
    """Return the centre of mass in pixels from the top left corner."""
    y_HW, x_HW = np.indices(image_HW.shape) + 0.5
    return float(np.average(y_HW, weights=image_HW)), float(np.average(x_HW, weights=image_HW))


def distance(a_HW: UInt8Array, b_HW: UInt8Array) -> float:
    """Return the mean absolute difference in levels, at the best shift of at most one pixel.

    If a centre of mass is near the edge of a pixel, any change may move the image by one.
    """
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    a_HW = a_HW.astype(np.int16)
    return min(float(np.abs(np.roll(a_HW, shift, (0, 1)) - b_HW).mean()) for shift in shifts)


def test_the_stroke_is_as_long_as_mnists_and_its_mass_in_the_middle() -> None:
    image_HW = fitted(on_paper(seven()))

    rows, columns = np.flatnonzero(image_HW.any(axis=1)), np.flatnonzero(image_HW.any(axis=0))
    y, x = centre_of_mass(image_HW)

    assert rows[-1] - rows[0] + 1 == 20
    # The drawn seven is about 74 wide and 98 tall.
    assert columns[-1] - columns[0] + 1 == pytest.approx(15, abs=1)
    assert image_HW.max() == 255
    # Whole pixels: the centre of every MNIST test image lies in [14, 15).
    assert 14 <= y < 15
    assert 14 <= x < 15


def test_the_box_grows_with_the_model_and_keeps_the_aspect() -> None:
    bar_HW = np.zeros((HEIGHT, WIDTH))
    bar_HW[50:150, 100:150] = 1

    found = fit_stroke(on_paper(bar_HW), 56, 70)

    assert found is not None
    expected_HW = np.zeros((56, 70), dtype=np.uint8)
    expected_HW[8:48, 25:45] = 255  # 40 of 56 tall, half as wide, in the centre
    np.testing.assert_array_equal(found.image_HW, expected_HW)


def test_chalk_on_a_board_gives_the_same_image_as_ink_on_paper() -> None:
    ink, chalk = on_paper(seven()), on_paper(seven(), paper=0, ink=255)

    on_light, on_dark = fit_stroke(ink, 28, 28), fit_stroke(chalk, 28, 28)

    assert on_light is not None and on_light.inverted
    assert on_dark is not None and not on_dark.inverted
    np.testing.assert_array_equal(on_light.image_HW, on_dark.image_HW)


@pytest.mark.parametrize("noise", [0.0, 6.0, 30.0])
def test_shading_and_noise_leave_the_stroke_where_it_is(noise: float) -> None:
    y_HW, x_HW = np.indices((HEIGHT, WIDTH))
    paper_HW = 130 + 60 * x_HW / WIDTH + 50 * (y_HW / HEIGHT) ** 2
    grain_HW = np.random.default_rng(5).normal(0, noise, (HEIGHT, WIDTH))
    photo = on_paper(seven(), paper_HW, 25) + grain_HW

    image_HW = fitted(photo.clip(0, 255).astype(np.uint8))

    # The mean level is 28, and moving the seven by one pixel gives 13. Measured: 0.9 and 1.7 with
    # light and grain, 7.0 with noise that hides it until a coarse search.
    assert distance(image_HW, fitted(on_paper(seven()))) < (9 if noise > 10 else 3)


def test_a_darker_rim_does_not_turn_faint_pencil_into_chalk() -> None:
    y_HW, x_HW = np.indices((HEIGHT, WIDTH))
    rim_HW = (x_HW / WIDTH - 0.5) ** 2 + (y_HW / HEIGHT - 0.5) ** 2
    photo = on_paper(seven(), 220 - 160 * rim_HW, 130)

    found = fit_stroke(photo, 28, 28)

    assert found is not None and found.inverted
    assert distance(found.image_HW, fitted(on_paper(seven()))) < 3


def ruled(page_HW: UInt8Array) -> None:
    page_HW[[10, 175, 190]] = 90


def framed(page_HW: UInt8Array) -> None:
    page_HW[[0, 1, -2, -1]] = 0
    page_HW[:, [0, 1, -2, -1]] = 0


def table_edge(page_HW: UInt8Array) -> None:
    page_HW[:, :40] = 30


def dust(page_HW: UInt8Array) -> None:
    for y, x in np.random.default_rng(2).integers(5, 30, (8, 2)):
        page_HW[y : y + 2, x : x + 2] = 40


@pytest.mark.parametrize("clutter", [ruled, framed, table_edge, dust])
def test_what_is_not_the_stroke_is_left_out(clutter: object) -> None:
    page_HW = on_paper(seven())
    assert callable(clutter)
    clutter(page_HW)

    # Dark clutter bends the paper's fitted surface by less than one level.
    difference_HW = fitted(page_HW).astype(int) - fitted(on_paper(seven()))
    assert np.abs(difference_HW).max() <= 2


def test_a_stroke_that_touches_the_border_is_kept() -> None:
    page_HW = on_paper(seven())
    ys, xs = np.nonzero(page_HW < 128)
    cropped_HW = page_HW[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]

    difference_HW = fitted(cropped_HW).astype(int) - fitted(page_HW)

    assert np.abs(difference_HW).max() <= 2


def test_separate_parts_of_a_digit_are_kept() -> None:
    page_HW = on_paper(seven())
    page_HW[110:118, 60:110] = 0  # a loose bar left of the stem

    columns = np.flatnonzero(fitted(page_HW).any(axis=0))

    # 60 to 187 is wider than tall: the width now fills the box.
    assert columns[-1] - columns[0] + 1 == 20


@pytest.mark.parametrize(
    ("drawn", "marks"),
    [
        ([(120, 50)], 1),
        ([(40, 50), (170, 50)], 2),
        ([(20, 50), (110, 40), (200, 60)], 3),
        ([(120, 10), (130, 105)], 1),  # one above the other, like the parts of a broken digit
    ],
)
def test_marks_side_by_side_are_counted(drawn: list[tuple[int, int]], marks: int) -> None:
    ink_HW = np.maximum.reduce([seven(at=at) for at in drawn])

    for grey_HW in (on_paper(ink_HW), on_paper(ink_HW, 20, 230)):
        found = fit_stroke(grey_HW, 28, 28)
        assert found is not None
        assert found.marks == marks


def test_a_small_part_beside_a_digit_is_no_mark_of_its_own() -> None:
    page_HW = on_paper(seven())
    page_HW[100:112, 60:72] = 0

    found = fit_stroke(page_HW, 28, 28)

    assert found is not None
    assert found.marks == 1


def test_a_hairline_is_thickened_and_a_pen_stroke_is_not() -> None:
    thin, usual = (fit_stroke(on_paper(seven(pen)), 28, 28) for pen in (2, 14))

    assert thin is not None and thin.thickened
    assert usual is not None and not usual.thickened
    # Without thickening, two of 90 pixels would give less than half of the full level at 20.
    assert np.median(thin.image_HW[thin.image_HW > 20]) > 128


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_blank_page_has_no_stroke(level: int) -> None:
    grain = np.random.default_rng(1).normal(level, 3, (HEIGHT, WIDTH))

    assert fit_stroke(np.full((9, 7), level, dtype=np.uint8), 28, 28) is None
    assert fit_stroke(grain.clip(0, 255).astype(np.uint8), 28, 28) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (1, 3000)])
def test_a_sliver_is_fitted_whatever_its_shape(shape: tuple[int, int]) -> None:
    sliver_HW = np.zeros(shape, dtype=np.uint8)
    sliver_HW[0, shape[1] // 2] = 255

    found = fit_stroke(sliver_HW, 28, 28)

    assert found is None or found.image_HW.shape == (28, 28)


def test_ink_runs_from_nothing_on_paper_to_one_on_the_stroke() -> None:
    page = find_ink(on_paper(seven(), paper=200, ink=60))

    assert page is not None
    np.testing.assert_allclose(page.level_HW, seven() > 0.5, atol=1e-4)


def test_otsu_agrees_with_trying_every_threshold() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(40, 9, 900), rng.normal(160, 20, 70)]).astype(np.float32)

    def spread(threshold: float) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        return float(low.size * low.var() + high.size * high.var())

    best = min(spread(float(t)) for t in np.sort(values)[:-1])

    # A histogram of 256 bins is accurate to one bin.
    assert spread(otsu(values)) == pytest.approx(best, rel=0.01)


def test_otsu_puts_values_of_one_level_above() -> None:
    assert otsu(np.full(5, 8, dtype=np.float32)) < 8


def test_stroke_width_of_a_bar_is_its_width() -> None:
    bar_HW = np.zeros((60, 20), dtype=np.uint8)
    bar_HW[5:45, 6:10] = 255

    # 4 × 40 = 160 pixels, 2 × 38 = 76 after one erosion: 2 · 160 / (160 − 76).
    assert stroke_width(bar_HW) == pytest.approx(320 / 84)


def test_the_ground_is_the_commonest_level_of_the_border() -> None:
    garment_HW = np.zeros((28, 20), dtype=np.uint8)
    # A coat in many shades covers two thirds of the border.
    garment_HW[:, 3:17] = np.random.default_rng(4).integers(90, 255, (28, 14))
    garment_HW[9:, :3] = np.random.default_rng(5).integers(90, 255, (19, 3))

    assert np.median(np.concatenate([garment_HW[0], garment_HW[-1]])) > 90
    assert ground_level(garment_HW) == 0
    assert not is_dark_on_light(garment_HW)
    assert is_dark_on_light(255 - garment_HW)


def test_scikit_learns_digits_are_light_on_dark() -> None:
    from sklearn.datasets import load_digits

    digits_NHW = (load_digits().images * 255 / 16).astype(np.uint8)

    assert not any(is_dark_on_light(digit_HW) for digit_HW in digits_NHW)
    assert all(is_dark_on_light(255 - digit_HW) for digit_HW in digits_NHW)
