"""The library as a user meets it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import striped

import firstlight as fl
from firstlight.data.catalog import CATALOG
from firstlight.data.load import where_found


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
    with pytest.raises(fl.DataError, match="the train images are not those of this run"):
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
        with pytest.raises(ValueError, match="wanted a uint8 array, paths, or pictures"):
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
    with pytest.raises(fl.UserError, match="is finished, there is nothing to resume"):
        fl.resume(tmp_path / "run")


def test_wrong_requests_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(fl.UserError, match="there are mnist, fashion_mnist, cifar10, digits"):
        fl.train("mnst")
    with pytest.raises(fl.UserError, match="images of 8×8 pixels are too small"):
        fl.train(striped(), "cifar10-tutorial", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_limited_run_on_own_data_is_evaluated_on_the_same_images(tmp_path: Path) -> None:
    data = striped(60, size=16)
    run = fl.train(data, "mnist-tutorial", epochs=1, limit=20, out=tmp_path / "run", quiet=True)

    assert run.evaluate().count == 20
