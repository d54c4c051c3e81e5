"""``explain``: a sheet and a page about one answer, and the messages if that is impossible."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command, striped

import firstlight as fl
from firstlight.training.extraction import extract
from firstlight.verbs import explain as verb
from firstlight.verbs import picture_features


@pytest.fixture
def run(digits_run: fl.Run, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return shutil.copytree(digits_run.path, tmp_path / "digits-1")


def test_a_test_image_is_explained_on_a_sheet_and_a_page(command: Command, run: Path) -> None:
    done = command("explain", run, "test:17")

    assert done.code == 0, done.err
    sheet, page = run / "figures" / "explain-test-17.png", run / "explain-test-17.html"
    assert done.out.splitlines()[-2:] == [f"sheet {sheet}", f"page {page}"]
    with Image.open(sheet) as picture:
        assert picture.width > 800
    text = page.read_text()
    for title in (
        "Grad-CAM",
        "Integrated gradients",
        "Occlusion",
        "training images, the ones that",
    ):
        assert title in text
    for cannot in (
        "cannot show single lines",
        "did not cause the answer on their own",
        "misses parts",
    ):
        assert cannot in text
    assert not re.search(r"https?:", text.replace("http://www.w3.org", ""))
    # Two convolutions with a pool or ReLU each, and two dense layers.
    told = json.loads(command("explain", run, "test:17", "--json").out)
    assert [layer["kind"] for layer in told["layers"]].count("convolution") == 2
    assert told["integrated_gradients"]["gap"] < 0.01
    assert told["truth"] == str(fl.load("digits").test.labels_N[17])


def test_a_picture_is_explained_and_another_class_when_asked_for(
    command: Command, run: Path, tmp_path: Path
) -> None:
    image = fl.load("digits").train.images_NHWC[5]
    Image.fromarray(image[..., 0]).save(tmp_path / "my digit.png")
    done = command("explain", run, "my digit.png", "--class", "8", "--json")

    told = json.loads(done.out)
    assert told["class"] == "8" and told["truth"] is None
    assert told["nearest"][0] == {"index": 5, "similarity": pytest.approx(1, abs=1e-5)}
    assert Path(told["page"]).name == "explain-my-digit-as-8.html"
    assert "evidence for 8" in Path(told["page"]).read_text()


def test_without_training_data_the_nearest_images_alone_are_missing(
    command: Command, tmp_path: Path
) -> None:
    run = fl.train(striped(40), "digits-tutorial", epochs=1, out=tmp_path / "run", quiet=True)
    Image.fromarray(striped(40).test.images_NHWC[0, :, :, 0]).save(tmp_path / "a.png")
    done = command("explain", run.path, "a.png")

    assert done.code == 0, done.err
    assert "the nearest training images are left out" in done.err
    text = (run.path / "explain-a.html").read_text()
    assert "Left out" in text and "Grad-CAM" in text
    assert "the test set, which is not available" in command("explain", run.path, "test:0").err


def test_from_python_an_explanation_holds_the_numbers_and_shows_itself(tmp_path: Path) -> None:
    data = striped(40)
    run = fl.train(data, "digits-tutorial", epochs=1, out=tmp_path / "run", quiet=True)
    found = run.explain(data.test.images_NHWC[3])

    assert found.grad_cam.values_HW.shape == (8, 8)
    assert found.integrated_gradients.values_HW.shape == (8, 8)
    assert len(found.nearest) == 9
    assert found._repr_png_() == found.sheet.read_bytes()
    with pytest.raises(ValueError, match="wanted uint8 images"):
        run.explain(np.zeros((9, 9), np.uint8))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("gone.png",), 3, "gone.png: no such file"),
        (("broken.png",), 3, "broken.png: the file is empty"),
        (("test:99999",), 2, "wanted the number of a test image, test:0 to test:359"),
        (("test:-1",), 2, "wanted the number of a test image"),
        (("test:x",), 2, "wanted the number of a test image"),
        (("test:1", "--class", "ten"), 2, "this run has no class 'ten'"),
        (("two",), 2, "holds 2 pictures; explain takes one"),
    ],
)
def test_what_cannot_be_explained_is_told_why(
    command: Command, run: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "broken.png").touch()
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        Image.new("L", (9, 9)).save(tmp_path / "two" / f"{name}.png")
    done = command("explain", run, *words)
    assert done.code == code and message in done.err


def test_of_a_blank_picture_nothing_is_said_to_matter(digits_run: fl.Run, run: Path) -> None:
    explanation = fl.open_run(run).explain(np.zeros((8, 8), np.uint8))

    assert explanation.integrated_gradients.gap == 0
    assert not explanation.integrated_gradients.values_HW.any()
    assert not explanation.occlusion.values_HW.any()
    text = explanation.page.read_text()
    assert text.count("strongest nowhere (zero everywhere)") >= 2


def test_an_unfinished_run_is_told_how_to_go_on(command: Command, run: Path) -> None:
    (run / "summary.json").unlink()
    done = command("explain", run, "test:1")
    assert done.code == 2 and "--resume" in done.err


def test_features_of_large_training_images_are_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cached features come from a training from a pretrained network, or from an earlier
    explanation. The nearest images are still those of the network itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = striped(40)
    plain = fl.train(data, "digits-tutorial", epochs=1, out=tmp_path / "run", quiet=True)
    wanted = plain.explain(data.train.images_NHWC[3]).nearest
    looked: list[int] = []

    def counted(model: Any, preprocess: Any, images_NHWC: Any, **more: Any) -> Any:
        looked.append(len(images_NHWC))
        return extract(model, preprocess, images_NHWC, **more)

    for name, value in (("LARGE", 10), ("CANDIDATES", 20), ("extract", counted)):
        monkeypatch.setattr(verb, name, value)
    monkeypatch.setattr(picture_features, "extract", counted)
    for _ in range(2):
        found = plain.explain(data.train.images_NHWC[3]).nearest
        assert [one.index for one in found] == [one.index for one in wanted]
        assert [one.similarity for one in found] == pytest.approx([o.similarity for o in wanted])
    assert looked == [40, 1, 1], "all the images once, and each time the one that is asked about"

    started = fl.train(
        data,
        start=plain.path,
        settings=['train.start_head="linear"'],
        epochs=0,
        out=tmp_path / "started",
        quiet=True,
    )
    looked.clear()
    started.explain(data.train.images_NHWC[3])
    assert looked == [1]
