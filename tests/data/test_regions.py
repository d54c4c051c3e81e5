"""Connected parts and openings, against SciPy's."""

import numpy as np
import pytest
from scipy import ndimage

from firstlight.data.regions import connected, opened

SNAKE = """
#########.
........#.
.######.#.
.#....#.#.
.#.##.#.#.
.#..###.#.
.#......#.
.########.
"""


@pytest.mark.parametrize("diagonally", [False, True])
@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.6, 0.9])
def test_parts_are_numbered_as_scipy_numbers_them(diagonally: bool, density: float) -> None:
    rng = np.random.default_rng(7)
    structure = np.ones((3, 3)) if diagonally else None
    for shape in [(40, 60), (60, 40), (1, 50), (50, 1), (1, 1), (97, 101)]:
        mask_HW = rng.random(shape) < density
        wanted_HW, count = ndimage.label(mask_HW, structure=structure)
        found_HW, found = connected(mask_HW, diagonally=diagonally)
        assert found == count
        assert np.array_equal(found_HW, wanted_HW)


def test_a_line_that_winds_back_on_itself_is_one_part() -> None:
    mask_HW = np.array([[mark == "#" for mark in row] for row in SNAKE.split()])
    assert connected(mask_HW)[1] == 1
    spiral_HW = np.zeros((101, 101), dtype=bool)  # one pixel wide, fifty times around
    for at in range(0, 50, 2):
        spiral_HW[at, at : 101 - at] = spiral_HW[at : 101 - at, 100 - at] = True
        spiral_HW[100 - at, at : 101 - at] = spiral_HW[at + 2 : 101 - at, at] = True
        spiral_HW[at + 2, at : at + 3] = True
    assert connected(spiral_HW)[1] == ndimage.label(spiral_HW)[1] == 1


@pytest.mark.parametrize("value", [False, True])
def test_an_even_mask_is_no_part_or_one(value: bool) -> None:
    parts_HW, count = connected(np.full((5, 4), value))
    assert count == int(value)
    assert np.array_equal(parts_HW, np.full((5, 4), int(value)))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_an_opening_is_scipy_s_where_no_window_reaches_over_the_edge(size: int) -> None:
    values_HW = np.random.default_rng(3).random((30, 20)).astype(np.float32)
    wanted_HW = ndimage.grey_opening(values_HW, (size, 1))[size - 1 : 31 - size]
    assert np.array_equal(opened(values_HW, size), wanted_HW)
