"""A run's confidence is calibrated on its held-out images, or the run says that it is not."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command, striped

import firstlight as fl
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import open_run_folder

RECIPE = ["train.epochs=12", "train.validation=held-out"]


def trained(out: Path, *settings: str) -> fl.Run:
    data = striped(300, 16)
    return fl.train(data, "mnist-quick", settings=[*RECIPE, *settings], out=out, quiet=True)


@pytest.mark.parametrize("share", [0.04, 0.2])
def test_a_run_that_has_every_held_out_image_right_is_calibrated(
    tmp_path: Path, share: float
) -> None:
    """Label smoothing of 0.2 leaves right answers at 80 to 90 %; with 12 images, and with 60."""
    run = trained(tmp_path / "run", f"train.held_out_fraction={share}")
    assert run.summary["kept_epoch"]["validation_accuracy"] == 1.0
    calibration = load_model(open_run_folder(run.path)).calibration
    assert calibration is not None and calibration.images == 300 * share
    metrics = run.evaluate()
    assert metrics.accuracy == 1.0
    assert metrics.expected_calibration_error < 0.05
    noise = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 1), dtype=np.uint8)
    assert sum(answer.unknown for answer in run.predict(noise)) > 10


def test_a_run_that_is_not_calibrated_says_so_with_every_answer(command: Command) -> None:
    run = trained(Path("run"), "train.held_out_fraction=0.02")
    answer = run.predict(striped(2, 16).test.images_NHWC)[0]
    assert not answer.calibrated and not answer.unknown
    Image.fromarray(striped(2, 16).test.images_NHWC[0, ..., 0]).save("a.png")

    told = command("predict", "run", "a.png")
    assert "not calibrated, and never unknown: training held out no images, or fewer" in told.out
    as_json = command("predict", "run", "a.png", "--json")
    assert json.loads(as_json.out)[0]["calibrated"] is False
    assert "not calibrated" in as_json.err
    as_csv = command("predict", "run", "a.png", "--csv")
    assert len(list(csv.reader(io.StringIO(as_csv.out)))) == 2
    assert "not calibrated" in as_csv.err


def test_evaluate_and_report_say_so_too(command: Command) -> None:
    words = ("--set", "train.validation=none", "--epochs", "2", "--quiet", "--out", "run")
    assert command("train", "digits", *words).code == 0
    assert "Its probabilities are not calibrated" in command("evaluate", "run").out
    assert json.loads(command("evaluate", "run", "--json").out)["calibrated"] is False
    assert "The probabilities are not calibrated" in Path("run/report.html").read_text()


def test_a_calibrated_run_says_nothing(command: Command, digits_run: fl.Run) -> None:
    Image.fromarray(fl.load("digits").test.images_NHWC[0, ..., 0]).save("a.png")
    told = command("predict", digits_run.path, "a.png", "--json")
    assert told.err == ""
    assert json.loads(told.out)[0]["calibrated"] is True
