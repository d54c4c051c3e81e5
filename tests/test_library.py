"""The Python library as seen by a user."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.kit import striped

import firstlight as fl
from firstlight.data.catalog import CATALOG
from firstlight.data.load import where_found
from firstlight.errors import DataError, UserError


def test_the_tutorial_in_ten_lines_on_own_data(tmp_path: Path) -> None:
    data = striped(120, size=16)

    run = fl.train(data, "mnist-tutorial", epochs=12, out=tmp_path / "run", quiet=True)
    metrics = run.evaluate()
    answers = run.predict(data.test.images_NHWC[:4])

    assert metrics.accuracy > 0.9
    assert [a.answer for a in answers] == ["row", "column", "row", "column"]
    assert run.report() == run.path / "report.html"
    assert run.summary["epochs"] == run.recipe.train.epochs == 12


def test_a_run_is_opened_again_with_its_own_data(tmp_path: Path) -> None:
    data = striped(40, size=16)
    fl.train(data, "mnist-tutorial", epochs=1, out=tmp_path / "run", quiet=True)

    with pytest.raises(fl.UserError, match=r"give its data: fl\.open_run"):
        fl.open_run(tmp_path / "run").evaluate()
    assert fl.open_run(tmp_path / "run", data).evaluate().count == 40
    other = fl.TrainTest(data.test, data.train)
    with pytest.raises(
        fl.DataError, match="the train images are not those that the run was trained with"
    ):
        fl.open_run(tmp_path / "run", other).evaluate()


@pytest.mark.real_data
def test_an_evaluation_reads_the_test_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = where_found(CATALOG["mnist"])
    assert found is not None
    copy = shutil.copytree(found, tmp_path / "mnist")
    monkeypatch.setenv("FIRSTLIGHT_DATA", str(copy))
    run = fl.train("mnist", "mnist-tutorial", limit=50, epochs=1, out=tmp_path / "run", quiet=True)

    for file in copy.glob("train-*"):
        file.chmod(0o600)
        file.write_bytes(b"")
    assert run.evaluate().count == 50
    with pytest.raises(fl.DataError, match="train-images"):
        run.export(out=tmp_path / "run.onnx")


def test_predictions_of_an_array_are_those_of_evaluate(digits_run: fl.Run) -> None:
    import csv

    test = fl.load("digits").test
    with (digits_run.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    answers = digits_run.predict(test.images_NHWC)

    assert [a.best for a in answers] == [row["predicted"] for row in rows]
    assert sum(answers[0].probabilities.values()) == pytest.approx(1, abs=1e-6)
    ordered = list(answers[0].probabilities.values())
    assert ordered == sorted(ordered, reverse=True)
    assert answers[0].confidence == ordered[0]
    grey = digits_run.predict(test.images_NHWC[:3, ..., 0])
    assert [a.best for a in grey] == [a.best for a in answers[:3]]
    assert digits_run.predict(test.images_NHWC[:0]) == []


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 9, 8), np.uint8), np.zeros((8, 8))]
)
def test_arrays_of_another_kind_are_refused(digits_run: fl.Run, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="wanted uint8 images N×8×8×1, got"):
        digits_run.predict(images)


def test_pictures_are_taken_by_their_path_one_or_many(digits_run: fl.Run, tmp_path: Path) -> None:
    image_HWC = fl.load("digits").test.images_NHWC[0]
    for name in ("a.png", "b.png"):
        Image.fromarray(image_HWC[..., 0]).save(tmp_path / name)

    one = digits_run.predict(tmp_path / "a.png")
    many = digits_run.predict([tmp_path / "a.png", str(tmp_path / "b.png"), "gone.png"])

    assert len(one) == 1
    assert digits_run.predict(str(tmp_path / "a.png"))[0].answer == one[0].answer is not None
    assert [a.error is None for a in many] == [True, True, False]
    assert many[0].probabilities == pytest.approx(one[0].probabilities, rel=1e-4)
    assert many[1].probabilities == many[0].probabilities


def test_what_is_no_picture_is_told_with_what_came(digits_run: fl.Run) -> None:
    for nonsense in (None, 3, [3.5]):
        with pytest.raises(ValueError, match="wanted a uint8 array, paths or Pillow images"):
            digits_run.predict(nonsense)  # type: ignore[arg-type]


def test_the_strip_is_a_picture(digits_run: fl.Run, tmp_path: Path) -> None:
    strip = digits_run.show_predictions()

    assert strip is not None
    strip.savefig(tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.width > picture.height


def test_a_resumed_run_goes_on_from_python_too(tmp_path: Path) -> None:
    with pytest.raises(fl.UserError, match="no such run folder"):
        fl.resume(tmp_path / "nowhere")
    fl.train("digits", epochs=1, out=tmp_path / "run", quiet=True)
    with pytest.raises(fl.UserError, match="is finished, so there is nothing to resume"):
        fl.resume(tmp_path / "run")


def test_wrong_requests_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(
        fl.UserError, match="the data sets are mnist, fashion_mnist, cifar10, digits"
    ):
        fl.train("mnst")
    with pytest.raises(fl.UserError, match=r"does not fit images of 8×8×1: layer 4 .max-pooling"):
        fl.train(striped(), "cifar10-tutorial", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_limited_run_on_own_data_is_evaluated_on_the_same_images(tmp_path: Path) -> None:
    data = striped(60, size=16)
    run = fl.train(data, "mnist-tutorial", epochs=1, limit=20, out=tmp_path / "run", quiet=True)

    assert run.evaluate().count == 20


def bright(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return grey images 8×8 in two classes: light above, or light below."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 60, (count, 8, 8), dtype=np.uint8), np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 190
    return images, labels


def test_arrays_are_trained_on_as_they_come(tmp_path: Path) -> None:
    (x, y), (x2, y2) = bright(60), bright(20, 1)
    words: dict[str, Any] = {"recipe": "digits-tutorial", "epochs": 2, "quiet": True}
    run = fl.train(((x, y), (x2, y2)), out=tmp_path / "a", **words)
    named = fl.train(fl.from_images(x, y, test=(x2, y2)), out=tmp_path / "b", **words)
    weights = [(r.path / "model.safetensors").read_bytes() for r in (run, named)]
    assert weights[0] == weights[1]
    assert run.evaluate().accuracy == named.evaluate().accuracy
    again = fl.open_run(run.path, ((x, y), (x2, y2)))
    assert again.evaluate().accuracy == run.evaluate().accuracy
    images_alone: Any = x
    for call in (fl.open_run, fl.resume):
        with pytest.raises(UserError, match="got ndarray of shape"):
            call(run.path, images_alone)
    alone = fl.train((x, y), out=tmp_path / "c", **words)
    assert alone.path.is_dir()


def test_a_trained_network_takes_floats_and_lists_of_arrays(tmp_path: Path) -> None:
    x, y = bright(60)
    run = fl.train(
        ((x, y), bright(20, 1)), "digits-tutorial", epochs=2, quiet=True, out=tmp_path / "run"
    )

    def shares(*given: Any, **words: Any) -> list[dict[str, float]]:
        return [answer.probabilities for answer in run.predict(*given, **words)]

    wanted = shares(x)
    assert shares(x / 255) == shares(x.astype(np.float32) / 255) == wanted
    assert shares(x.astype(np.int64)) == shares(x.astype(np.uint16) * 257) == wanted
    assert shares(x / 255 * 16, range=(0, 16)) == wanted
    assert shares(list(x)) == shares(list(x / 255)) == wanted
    for found, expected in zip(shares([Image.fromarray(x[0]), x[1]]), wanted, strict=False):
        assert found == pytest.approx(expected, rel=1e-4)
    for strange in (x // 16, x / 16, x / 255 / 255, x / 255 * 2 - 1):
        with pytest.raises(DataError, match="range="):
            run.predict(strange)
    assert "0 to 1 read as 0 to 255" in run.predict(x / 255)[0].notes[0]
    explained = run.explain(x[0] / 255)
    assert explained.prediction.probabilities == pytest.approx(wanted[0], rel=1e-4)


def test_a_dark_set_is_told_whoever_made_it(tmp_path: Path) -> None:
    light = striped(40)
    dark = fl.TrainTest(
        *(replace(part, images_NHWC=part.images_NHWC // 16, name="dark/x") for part in light)
    )
    words: dict[str, Any] = {"epochs": 1, "quiet": True}
    with pytest.warns(UserWarning, match="nearly black: no pixel is above level 15 of 255"):
        fl.train(dark, "digits-tutorial", out=tmp_path / "a", **words)
    x, y = bright(60)
    with pytest.warns(UserWarning, match="nearly black"):
        fl.train(
            fl.from_images(x // 8, y, range=(0, 255)),
            "digits-tutorial",
            out=tmp_path / "b",
            **words,
        )


@pytest.mark.parametrize("data", [np.zeros((9, 8, 8)), [1] * 5000, None, {"x": "y" * 9000}, (1,)])
def test_what_is_no_data_is_told_in_a_line(data: Any) -> None:
    for call in (fl.train, fl.load):
        with pytest.raises(UserError, match="wanted the name of a data set") as caught:
            call(data)
        assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_message_that_holds_what_came_is_cut() -> None:
    for call in (fl.load, fl.open_run, lambda name: fl.train("digits", name)):
        with pytest.raises(UserError) as caught:
            call("n" * 6000)
        assert len(str(caught.value)) < 800 and "characters)…" in str(caught.value)
