"""Values as a notebook shows them: complete, escaped, and small."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import firstlight as fl
from firstlight import cells
from firstlight.evaluate.label_metrics import LabelMetrics, measure_labels
from firstlight.evaluate.metrics import Metrics, measure
from firstlight.evaluate.prediction import Prediction
from firstlight.layers import Conv, Dense, Flatten

EVIL = '<img src=x onerror="alert(1)">&\n'


class Page(HTMLParser):
    """Its tags, in balance, and what a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.pictures: list[Image.Image] = []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given), given
        if tag == "img":
            head, _, data = str(given["src"]).partition(",")
            assert head == "data:image/png;base64"
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(data))))
        elif tag not in ("br",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def dataset(classes: int, side: int = 8, channels: int = 1) -> fl.Dataset:
    """Two images of each class, with names that would be a page's code."""
    rng = np.random.default_rng(0)
    return fl.Dataset(
        name=f"evil{EVIL}",
        images_NHWC=rng.integers(0, 256, (2 * classes, side, side, channels), dtype=np.uint8),
        labels_N=np.repeat(np.arange(classes), 2),
        class_names=tuple(f"{at} {EVIL}{'long ' * 100}" for at in range(classes)),
    )


def metrics(classes: int) -> Metrics:
    rng = np.random.default_rng(0)
    labels_N = np.repeat(np.arange(classes), 2)
    probabilities_NK = rng.dirichlet(np.ones(classes), len(labels_N)).astype(np.float32)
    return measure(labels_N, probabilities_NK, dataset(classes).class_names)


def label_metrics(labels: int) -> LabelMetrics:
    """Four images: each label is on the first three, and given to the first two and the last."""
    labels_NK = np.repeat([[True], [True], [True], [False]], labels, axis=1)
    labels_NK[:, -1] = False
    probabilities_NK = np.repeat([[0.9], [0.7], [0.2], [0.6]], labels, axis=1).astype(np.float32)
    names = dataset(labels).class_names
    return measure_labels(labels_NK, probabilities_NK, names, np.full(labels, 0.5))


def test_a_data_set_shows_images_of_its_classes() -> None:
    data = dataset(3)
    page = Page(data._repr_html_())
    assert "6 images, 8×8, grey, 3 classes" in page.words
    assert len(page.pictures) == 3
    first = np.asarray(page.pictures[0].convert("L"))
    assert np.array_equal(first, np.hstack(list(data.images_NHWC[:2, ..., 0])))


def test_images_of_a_large_size_are_reduced() -> None:
    (one, *_) = Page(dataset(2, side=300, channels=3)._repr_html_()).pictures
    assert one.height == cells.LARGE and one.width == 2 * cells.LARGE + 2


def test_an_image_with_several_labels_is_shown_under_each() -> None:
    data = fl.Dataset(
        name="several",
        images_NHWC=np.zeros((3, 8, 8, 1), np.uint8),
        labels_N=np.zeros(0, np.int64),
        labels_NK=np.array([[True, True], [False, True], [False, False]]),
        class_names=("a", "b"),
    )
    page = Page(data._repr_html_())
    assert [picture.width for picture in page.pictures] == [8, 16]
    assert "2 labels" in page.words and "class" not in page.words


@pytest.mark.parametrize("classes", [3, 1000])
def test_names_are_text_and_a_thousand_classes_stay_small(classes: int) -> None:
    for shown in (
        dataset(classes),
        fl.TrainTest(dataset(classes), dataset(2)),
        metrics(classes),
        label_metrics(classes),
    ):
        html = shown._repr_html_()
        page = Page(html)
        assert "onerror" in page.words and "\\n" in page.words  # as text, on one line
        assert "<img src=x" not in html
        assert len(html) < 200_000
        if classes > 20:
            assert re.search(r"990 more classes|20 (classes|labels) of 1,000", page.words)


def test_nothing_has_a_ground_of_its_own_or_black_letters() -> None:
    """So that it is read on a dark page as well."""
    answer = Prediction(name="a.png", probabilities={"7": 0.9, "1": 0.1})
    network = fl.Network(layers=(Flatten(), Dense("classes")))
    summary = network.summary((8, 8, 1), 3)
    values = (metrics(3), label_metrics(3), dataset(3), network, summary, answer)
    for html in (value._repr_html_() for value in values):
        assert not re.search(
            r"background(-color)?: (?!none)|color: #(0|1|f)|white(?!-)|black", html
        )
        assert "<style" not in html and "class=" not in html


def test_metrics_of_several_labels_show_a_row_for_each_label() -> None:
    page = Page(label_metrics(3)._repr_html_())
    assert "0.00 % (0 of 4 images)" in page.words  # a label is missing or too many in each
    numbers = re.findall(r"[\d.]+ %|- ", page.words.partition("images")[2].partition("images")[2])
    # Two of three given labels are right and two of three are found, so precision, recall and F1
    # are 2/3. The thresholds 0.9, 0.7, 0.6, 0.2 find them with precisions 1, 1, 2/3, 3/4.
    assert numbers[:5] == ["66.7 %", "66.7 %", "66.7 %", "91.7 %", "50.0 %"]
    assert numbers[10:] == ["- ", "- ", "- ", "- ", "50.0 %"]  # no image has the last one


def test_a_network_shows_its_layers() -> None:
    network = fl.Network(layers=(Conv(4, kernel=3), Flatten(), Dense("classes")))
    page = Page(network._repr_html_())
    assert page.tags.count("tr") == 1 + 3
    assert "convolution, 4 filters of 3×3" in page.words


def test_the_counts_of_a_confusion_matrix_stand_in_their_cells() -> None:
    page = Page(cells.counts(("a", "b"), ((90, 7), (0, 12345))))
    assert page.words.split() == ["a", "a", "b", "b", "90", "7", "12k"]


def test_curves_leave_out_what_was_not_measured() -> None:
    html = cells.curves({"training loss": [2.0, 1.0, 0.5], "validation loss": [None, 1.5, None]})
    page = Page(html)
    assert page.tags.count("polyline") == 1 and page.tags.count("circle") == 1
    (line,) = re.findall(r'points="([^"]*)"', html)
    x_y = [tuple(map(float, point.split(","))) for point in line.split()]
    assert [x for x, _ in x_y] == sorted(x for x, _ in x_y)
    assert x_y[0][1] < x_y[1][1] < x_y[2][1]  # a lower loss lies lower
    assert cells.curves({"loss": []}) == ""


def test_a_run_shows_its_figures_and_where_it_is_gone_its_name(tmp_path: Path) -> None:
    run = fl.train("digits", epochs=2, out=tmp_path / "run", quiet=True)
    page = Page(str(run._repr_html_()))
    assert "not measured yet: run.evaluate()" in page.words
    accuracy = run.evaluate().accuracy
    page = Page(str(run._repr_html_()))
    assert f"{100 * accuracy:.2f} %" in page.words
    assert page.tags.count("polyline") == 2 + 2  # loss and accuracy, training and validation
    (run.path / "recipe.toml").unlink()
    assert run._repr_html_() is None
