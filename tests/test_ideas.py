"""What the figures of docs/ideas.md say about a network, computed again by hand."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import firstlight as fl
from firstlight import layers
from ideas import WIDTH, digit
from ideas.runs import recipes, six_convolutions, swept


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> digit.Inside:
    """Return a small network after an epoch on 300 of scikit-learn's digits."""
    run = tmp_path_factory.mktemp("ideas") / "run"
    data = fl.load("digits")
    network = [
        layers.Conv(4, kernel=3, activation="relu"),
        layers.MaxPool(2),
        layers.Flatten(),
        layers.Dense("classes"),
    ]
    fl.train(data, network=network, epochs=1, limit=300, out=run, quiet=True)
    return digit.Inside(run, data)


def test_the_map_holds_the_sums_of_kernel_times_pixels(inside: digit.Inside) -> None:
    pixels_hw = inside.test.images_NHWC[digit.DIGIT, ..., 0] / 255
    for row, column in np.ndindex(6, 6):
        window_hw = pixels_hw[row : row + 3, column : column + 3]
        by_hand = (window_hw * inside.kernel_hw).sum() + inside.bias
        assert inside.map_hw[row, column] == pytest.approx(by_hand, abs=1e-5)
    row, column = inside.strongest
    assert inside.map_hw[row, column] == inside.map_hw.max()


def test_relu_and_pooling_are_of_that_map(inside: digit.Inside) -> None:
    assert (inside.after_relu_hw == np.where(inside.map_hw > 0, inside.map_hw, 0)).all()
    for row, column in np.ndindex(3, 3):
        square_hw = inside.after_relu_hw[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert inside.pooled_hw[row, column] == square_hw.max()


def test_the_runs_beside_each_other_differ_in_what_the_page_says_alone() -> None:
    found = recipes()
    plain, augmented, dropped = (
        found[f"cifar10-tutorial{end}"] for end in ("", "-augmented", "-dropout")
    )
    assert plain.train == augmented.train == dropped.train
    assert plain.optimizer == augmented.optimizer == dropped.optimizer
    assert plain.network == augmented.network and augmented.augment and not plain.augment
    assert [one for one in dropped.network.layers if not isinstance(one, layers.Dropout)] == [
        *plain.network.layers
    ]
    without, normed = found[swept(0.1, False)], found[swept(0.1, True)]
    assert (without.train, without.optimizer) == (normed.train, normed.optimizer)
    kinds = [type(one) for one in six_convolutions(normed=True)]
    assert kinds.count(layers.BatchNorm) == kinds.count(layers.Conv) == 6


@pytest.mark.parametrize(
    "name", ["convolution", "pooling", "activation", "softmax", "loss", "gradient"]
)
def test_a_picture_is_small(name: str, inside: digit.Inside) -> None:
    content = getattr(digit, name)(inside).png()
    assert len(content) < 60_000
    assert Image.open(BytesIO(content)).width == round(110 * WIDTH)


def test_each_idea_on_the_page_has_its_picture() -> None:
    root = Path(__file__).resolve().parent.parent
    text = (root / "docs" / "ideas.md").read_text(encoding="utf-8")
    drawn = sorted(path.name for path in (root / "docs" / "pictures").glob("idea-*.png"))
    assert sorted(part.partition(")")[0] for part in text.split("(pictures/")[1:]) == drawn
    *ideas, _ = text.split("\n## ")[1:]
    assert len(ideas) == 12
    for idea in ideas:
        assert "(pictures/idea-" in idea and "**In firstlight:**" in idea
