"""A run with many classes: files that stay small, and readers that can handle them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command, whitened_net

import firstlight as fl
from firstlight.evaluate.metrics import Metrics, confusion_counts, measure
from firstlight.runs.folder import open_run_folder
from firstlight.runs.record import read_answers

CLASSES = 150


def many(classes: int = CLASSES) -> fl.TrainTest:
    """Return a noise pattern for each class, and a little more noise on each image."""
    rng = np.random.default_rng(0)
    ground_KHW1 = rng.integers(0, 200, (classes, 12, 12, 1))
    parts = []
    for part in ("train", "test"):
        labels_N = np.arange(4 * classes, dtype=np.int64) % classes
        images_NHWC = ground_KHW1[labels_N] + rng.integers(0, 50, (4 * classes, 12, 12, 1))
        parts.append(
            fl.Dataset(
                name=f"many/{part}",
                images_NHWC=images_NHWC.astype(np.uint8),
                labels_N=labels_N,
                class_names=tuple(f"kind {k}" for k in range(classes)),
            )
        )
    return fl.TrainTest(*parts)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    settings = [
        *whitened_net(16, 16, kernel=4, stride=2, pool_last=False, activation="relu"),
        "train.epochs=8",
        "train.validation=none",
    ]
    out = tmp_path_factory.mktemp("runs") / "many"
    trained = fl.train(many(), "mnist-quick", settings=settings, out=out, quiet=True)
    trained.evaluate()
    trained.report()
    return trained


def test_the_sparse_confusion_matrix_is_that_of_the_answers(run: fl.Run) -> None:
    written = json.loads((run.path / "metrics.json").read_text())
    counts_KK = confusion_counts(written["confusion"], CLASSES)
    with (run.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_hand = np.zeros((CLASSES, CLASSES), np.int64)
    for row in rows:
        by_hand[int(row["true"].split()[1]), int(row["predicted"].split()[1])] += 1
    assert (counts_KK == by_hand).all()
    assert set(written["confusion"]) == {"true", "predicted", "count"}
    assert 0 not in written["confusion"]["count"]
    assert Metrics.from_json(written).to_json() == Metrics.from_json(written).to_json()
    assert Metrics.from_json(written).confusion == tuple(map(tuple, by_hand.tolist()))


def test_a_line_of_answers_has_the_true_class_s_probability_alone(run: fl.Run) -> None:
    data = many()
    answers = read_answers(open_run_folder(run.path))
    for at, one in enumerate(run.predict(data.test.images_NHWC[:20])):
        truth = data.test.class_names[data.test.labels_N[at]]
        assert answers.truth_N[at] == pytest.approx(one.probabilities[truth], abs=1e-6)
        assert answers.confidence_N[at] == pytest.approx(one.confidence, abs=1e-6)
        assert data.test.class_names[answers.predicted_N[at]] == one.best
    assert (run.path / "predictions.csv").stat().st_size < 100 * len(data.test)


def test_two_thousand_classes_stay_under_five_megabytes() -> None:
    """Every answer is a different wrong one: the most cells possible."""
    rng = np.random.default_rng(0)
    labels_N = np.arange(20_000, dtype=np.int64) % 2000
    said_N = rng.integers(0, 2000, 20_000)
    rows_NK = np.zeros((20_000, 2000), np.float32)
    rows_NK[np.arange(20_000), said_N] = 1
    names = tuple(f"a class with a name of forty letters {k:04}" for k in range(2000))
    text = json.dumps(measure(labels_N, rows_NK, names).to_json(), indent=2)
    assert len(text) < 5e6


def test_pictures_show_so_many_classes_as_can_be_read(run: fl.Run) -> None:
    page = (run.path / "report.html").read_text()
    assert f"Only the 40 of {CLASSES} classes with the most mistakes are shown." in page
    assert f"for the first 40 of {CLASSES} classes" in page
    assert "The 40 classes with the lowest recall." in page
    for picture in (run.path / "figures").glob("*.png"):
        with Image.open(picture) as opened:
            assert max(opened.size) < 4000, picture.name


def test_the_screen_lists_the_least_found(command: Command, tmp_path: Path) -> None:
    data = many()
    np.savez(
        tmp_path / "many.npz",
        train_images=data.train.images_NHWC,
        train_labels=data.train.labels_N,
        test_images=data.test.images_NHWC,
        test_labels=data.test.labels_N,
        range=np.array([0, 255]),
    )
    net = (word for setting in whitened_net(8) for word in ("--set", setting))
    words = (*net, "--epochs", "1", "--quiet", "--out", "run")
    assert command("train", "many.npz", *words).code in (0, 4)
    done = command("evaluate", "run")
    assert done.code == 0, done.err
    assert f"the 20 of {CLASSES} classes with the lowest recall" in done.out
    assert len(done.out.splitlines()) < 60
    assert len(json.loads(command("evaluate", "run", "--json").out)["per_class"]) == CLASSES


def test_few_classes_are_written_as_a_matrix() -> None:
    rows_NK = np.eye(3, dtype=np.float32)
    written = measure(np.arange(3), rows_NK, ("a", "b", "c")).to_json()
    assert json.loads(json.dumps(written))["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
