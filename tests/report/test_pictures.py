"""The figures contain what they were given, and have the same bytes every time."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from firstlight.explain.layers import LayerMaps
from firstlight.explain.words import Words
from firstlight.report import charts, explanation, images
from firstlight.report.picture import SavedFigure, fitted, shortened
from firstlight.verbs.report import of_every_class

RNG = np.random.default_rng(0)
NAMES = ("cat", "$dog$", "a class with a very long name indeed, longer than any label")
EPOCHS = [
    {
        "epoch": float(e),
        "train_loss": 1 / e,
        "train_accuracy": 1 - 0.5 / e,
        "validation_loss": 1.1 / e,
        "validation_accuracy": 1 - 0.6 / e,
        "train_seconds": 2.0,
    }
    for e in (1, 2, 3)
]


def answered(channels: int = 1, count: int = 7) -> list[images.Answered]:
    return [
        images.Answered(
            image_HWC=RNG.integers(0, 256, (5, 9, channels), dtype=np.uint8),
            answer=NAMES[i % 3],
            confidence=0.4 + 0.1 * (i % 7),
            truth=NAMES[i % 2],
            name=f"number {i}",
        )
        for i in range(count)
    ]


def noise(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape, dtype=np.float32)


def maps(*shape: int) -> LayerMaps:
    return LayerMaps(name="x", kind="convolution", says="", maps_Chw=noise(*shape))


def drawings(channels: int, classes: int) -> list[explanation.Drawing]:
    image_HWC = RNG.integers(0, 256, (5, 9, channels), dtype=np.uint8)
    shares = {f"class {i}": 1 / classes for i in range(classes)}
    return [
        explanation.seen(image_HWC),
        explanation.answers(shares, f"class {classes - 1}"),
        explanation.overlaid(image_HWC, noise(5, 9), dark=True),
        explanation.overlaid(image_HWC, np.zeros((5, 9), np.float32), dark=False, smooth=True),
        explanation.alike(np.stack([image_HWC] * 2), NAMES[:2], [1.0, 0.5]),
        explanation.note("nothing\nthere"),
    ]


def sheet(channels: int, classes: int, panels: int) -> SavedFigure:
    said = Words(title="$Title$", shows="What it shows. " * 9, cannot="What it cannot. " * 4)
    return explanation.overview([(said, d) for d in drawings(channels, classes)[:panels]])


PICTURES = {
    "explanation, grey": lambda: sheet(1, 2, 6),
    "explanation, colour, many classes": lambda: sheet(3, 40, 4),
    "layer of few maps": lambda: explanation.layer(maps(3, 7, 4)),
    "layer of many maps": lambda: explanation.layer(maps(100, 4, 7)),
    "layer of nothing": lambda: explanation.layer(
        LayerMaps(name="x", kind="ReLU", says="", maps_Chw=np.zeros((1, 2, 2), np.float32))
    ),
    "layer of numbers": lambda: explanation.layer(maps(300, 1, 1)),
    "layer of scores": lambda: explanation.layer(maps(3, 1, 1), NAMES),
    "strip": lambda: images.prediction_strip(answered()),
    "strip of one, colour": lambda: images.prediction_strip(answered(3, 1)),
    "mistakes": lambda: images.mistakes_page(answered(3, 24)),
    "grid": lambda: images.prediction_grid(answered(1, 3)),
    "samples": lambda: images.class_samples(
        [RNG.integers(0, 256, (n, 5, 9, 3), dtype=np.uint8) for n in (4, 0, 12)], NAMES
    ),
    "augmentation": lambda: images.augmentation_views(
        np.full((5, 9, 1), 99, np.uint8), RNG.random((11, 5, 9, 1), dtype=np.float32)
    ),
    "grey filters": lambda: images.first_layer_filters(noise(20, 1, 3, 3)),
    "colour filters": lambda: images.first_layer_filters(noise(3, 3, 5, 5)),
    "dead filters": lambda: images.first_layer_filters(np.zeros((2, 3, 3, 3), np.float32)),
    "curves": lambda: charts.training_curves(EPOCHS, "held out"),
    "curves without validation": lambda: charts.training_curves(EPOCHS[:1], None),
    "counts": lambda: charts.confusion([[5, 0, 1], [0, 0, 0], [2, 1, 7]], NAMES, normalised=False),
    "shares": lambda: charts.confusion([[5, 0, 1], [0, 0, 0], [2, 1, 7]], NAMES, normalised=True),
    "many classes": lambda: charts.confusion(
        np.eye(40, dtype=int).tolist(), [f"c{i}" for i in range(40)], normalised=True
    ),
    "trust": lambda: charts.trust(
        RNG.random(200, dtype=np.float32), RNG.random(200) < 0.7, threshold=0.2
    ),
    "trust in one": lambda: charts.trust(
        np.array([0.5], np.float32), np.array([False]), threshold=None
    ),
    "classes": lambda: charts.class_accuracy(NAMES, [1.0, 0.0, 0.5], 0.6),
    "comparison": lambda: charts.comparison_curves({"a": EPOCHS, "b": EPOCHS[:1]}),
    "scores": lambda: charts.comparison_bars(
        [charts.RunScore(name=n, accuracy=0.9, interval=(0.88, 0.91)) for n in NAMES]
    ),
}


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_every_picture_is_a_png_that_is_neither_empty_nor_huge(name: str) -> None:
    png = PICTURES[name]().png()

    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 60 and max(picture.size) < 2000
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 1


def test_the_same_numbers_give_the_same_bytes_and_a_notebook_gets_them_too() -> None:
    first, again = (charts.training_curves(EPOCHS, "test") for _ in range(2))

    assert first.png() == again.png() == first._repr_png_()


def words(picture: SavedFigure) -> list[str]:
    texts = []
    for axes in picture.axes:
        texts += [axes.get_title(), axes.get_xlabel(), *(t.get_text() for t in axes.texts)]
    return [text for text in texts if text]


def test_a_wrong_answer_shows_the_truth_and_a_right_one_only_itself() -> None:
    items = [
        images.Answered(image_HWC=np.zeros((4, 4, 1), np.uint8), answer=a, confidence=c, truth=t)
        for a, c, t in (("cat", 0.724, "dog"), ("dog", 0.9999, "dog"))
    ]

    assert words(images.prediction_strip(items)) == ["cat (72 %)", "is dog", "dog (>99 %)"]


@pytest.mark.parametrize("recalls", [[0.991, 0.999, 0.995], [0.2, 1.0, 0.6], [1.0, 1.0, 1.0]])
def test_the_axis_of_classes_is_as_long_as_they_differ(recalls: list[float]) -> None:
    (axes,) = charts.class_accuracy(NAMES, recalls, float(np.mean(recalls))).axes
    left, right = axes.get_xlim()
    spread = max(recalls) - min(recalls)
    assert left < min(recalls) and max(recalls) < right
    assert right - left < 2 * max(spread, 0.02)
    assert all(left <= tick <= 1 for tick in axes.get_xticks())


def test_samples_are_of_every_class() -> None:
    few = np.array([1] * 20 + [0] * 20)
    assert of_every_class(few) == [*range(20, 25), *range(5)]
    assert of_every_class(np.array([2, 2, 0, 2])) == [2, 0, 1, 3]
    many = np.repeat(np.arange(25), 4)
    assert of_every_class(many) == [4 * k for k in (0, 2, 5, 7, 10, 12, 15, 17, 20, 22)]


def test_a_confusion_matrix_shows_counts_and_row_shares() -> None:
    counts = [[3, 1], [0, 4]]

    assert words(charts.confusion(counts, ("a", "b"), normalised=False))[1:] == ["3", "1", "4"]
    shares = words(charts.confusion(counts, ("a", "b"), normalised=True))[1:]
    assert shares == ["75.0", "25.0", "100.0"]


def test_the_explained_class_is_among_the_bars_however_improbable() -> None:
    shares = {f"class {i}": share for i, share in enumerate([0.9996, *[0.0001] * 11])}

    bars = explanation.single(explanation.answers(shares, "class 11"), "Answer")

    labels = [label.get_text() for label in bars.axes[0].get_yticklabels()]
    assert labels == [*(f"class {i}" for i in range(9)), "class 11"]
    assert words(bars)[0] == ">99.9 %"


def test_long_names_are_broken_and_then_cut() -> None:
    assert fitted("short", 10) == "short"
    assert fitted("two words", 5) == "two\nwords"
    assert all(len(line) <= 8 for line in fitted(NAMES[2], 8).split("\n"))
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"


def test_of_a_long_path_the_end_is_shown() -> None:
    item = images.Answered(
        image_HWC=np.zeros((8, 8, 1), np.uint8),
        answer="cat",
        confidence=0.5,
        truth="airplane",
        name="pictures/train/airplane/00012.png",
    )
    (axes,) = images.mistakes_page([item]).axes
    assert axes.get_xlabel().splitlines() == ["is airplane", "…airplane/00012.png"]


def test_a_home_that_cannot_be_written_is_no_news() -> None:
    home = {**os.environ, "MPLCONFIGDIR": f"{os.devnull}/none"}
    code = "import firstlight.report.charts"
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
