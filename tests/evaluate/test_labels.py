"""Metrics, temperature and thresholds for several labels, compared with scikit-learn and
counting."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as reference

from firstlight.evaluate.calibrate import LEAST_IMAGES, MANY_IMAGES
from firstlight.evaluate.label_calibration import (
    LEAST_WITH,
    USUAL,
    LabelCalibration,
    calibrate_labels,
    calibrated_label_losses,
    sigmoid,
)
from firstlight.evaluate.label_metrics import (
    LabelMetrics,
    average_precision,
    best_threshold,
    measure_labels,
)

NAMES = ("a", "b", "c", "d")


def drawn(count: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels drawn from the sigmoid of scores, and those scores times ``sharpness``."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(count, len(NAMES))) * 2 - 1
    labels = rng.random(scores.shape) < expit(scores)
    return (scores * sharpness).astype(np.float32), labels


def probable(count: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = drawn(count)
    return np.round(expit(scores), decimals).astype(np.float32), labels


@pytest.mark.parametrize("count", [30, 200])
def test_calibrated_losses_are_those_of_the_temperature_of_the_other_images(count: int) -> None:
    scores, labels = drawn(count, sharpness=3.0)
    found = calibrated_label_losses(scores, labels)
    temperatures = []
    for at in range(count):
        rest = np.arange(count) != at if count < MANY_IMAGES else np.ones(count, bool)
        fitted = calibrate_labels(scores[rest], labels[rest])
        assert fitted is not None
        temperatures.append(fitted.temperature)
    stated = expit(scores.astype(float) / np.array(temperatures)[:, None])
    wanted = [
        reference.log_loss(row, one, labels=[0, 1], normalize=False)
        for row, one in zip(labels, stated, strict=True)
    ]
    assert found == pytest.approx(wanted)


# With one decimal many images tie.
@pytest.mark.parametrize("decimals", [1, 7])
def test_every_figure_is_scikit_learns(decimals: int) -> None:
    probabilities, labels = probable(500, decimals)
    thresholds = np.array([0.25, 0.5, 0.55, 0.91])
    found = measure_labels(labels, probabilities, NAMES, thresholds)
    given = probabilities >= thresholds
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, given))
    assert found.f1_micro == pytest.approx(reference.f1_score(labels, given, average="micro"))
    assert found.f1_macro == pytest.approx(reference.f1_score(labels, given, average="macro"))
    assert found.mean_average_precision == pytest.approx(
        reference.average_precision_score(labels, probabilities, average="macro")
    )
    losses = [reference.log_loss(labels[:, k], probabilities[:, k].astype(float)) for k in range(4)]
    assert found.log_loss == pytest.approx(sum(losses))
    table = reference.precision_recall_fscore_support(labels, given)
    for k, row in enumerate(found.per_class):
        expected = [column[k] for column in table]
        assert [row.precision, row.recall, row.f1, row.support] == pytest.approx(expected)
        assert row.threshold == thresholds[k]
        assert row.average_precision == pytest.approx(
            reference.average_precision_score(labels[:, k], probabilities[:, k])
        )


def test_a_label_that_no_image_has_counts_in_no_mean() -> None:
    probabilities, labels = probable(200, 7)
    labels[:, 3] = False
    found = measure_labels(labels, probabilities, NAMES, np.full(4, 0.5))
    assert found.per_class[3].average_precision is None
    assert found.mean_average_precision == pytest.approx(
        reference.average_precision_score(labels[:, :3], probabilities[:, :3])
    )
    given = probabilities >= 0.5
    expected = reference.f1_score(labels[:, :3], given[:, :3], average="macro")
    assert found.f1_macro == pytest.approx(expected)


def test_a_perfectly_honest_answer_has_a_small_calibration_error_and_a_boast_a_large_one() -> None:
    scores, labels = drawn(20_000)
    half = np.full(4, 0.5)
    honest = measure_labels(labels, expit(scores), NAMES, half).expected_calibration_error
    boast = measure_labels(labels, expit(4 * scores), NAMES, half).expected_calibration_error
    assert honest < 0.01 < 0.05 < boast


def test_metrics_come_back_from_json() -> None:
    probabilities, labels = probable(50, 7)
    labels[:, 2] = False
    found = measure_labels(labels, probabilities, NAMES, np.full(4, 0.5))
    assert found.to_json()["labels"] == "several"
    assert LabelMetrics.from_json(found.to_json()) == found


def test_shapes_that_do_not_match_and_numbers_that_are_none_are_refused() -> None:
    probabilities, labels = probable(50, 7)
    for p, names in ((probabilities[:, :3], NAMES), (probabilities, NAMES[:3])):
        with pytest.raises(ValueError, match="do not match"):
            measure_labels(labels, p, names, np.full(4, 0.5))
    probabilities[7, 1] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        measure_labels(labels, probabilities, NAMES, np.full(4, 0.5))


@pytest.mark.parametrize("decimals", [1, 7])
def test_no_other_threshold_has_a_higher_f1(decimals: int) -> None:
    probabilities, labels = probable(300, decimals)
    for k in range(4):
        found = best_threshold(labels[:, k], probabilities[:, k].astype(np.float64))
        given = probabilities[:, k] >= found
        best = max(
            reference.f1_score(labels[:, k], probabilities[:, k] >= one)
            for one in np.unique(probabilities[:, k])
        )
        assert reference.f1_score(labels[:, k], given) == pytest.approx(best)


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken() -> None:
    has = np.array([True, True, False, False])
    assert best_threshold(has, np.array([0.9, 0.7, 0.2, 0.1])) == pytest.approx(0.45)


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 7.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(sharpness: float) -> None:
    logits, labels = drawn(4000, sharpness)
    found = calibrate_labels(logits, labels)
    assert found is not None and found.images == 4000
    assert found.temperature == pytest.approx(sharpness, rel=0.1)
    grid = np.exp(np.linspace(np.log(sharpness) - 0.5, np.log(sharpness) + 0.5, 401))
    losses = [reference.log_loss(labels.ravel(), expit(logits / t).ravel()) for t in grid]
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)


@pytest.mark.parametrize("score", [3.0, 0.5])
def test_the_temperature_of_answers_that_are_all_right_stays_a_number(score: float) -> None:
    labels = np.random.default_rng(0).random((200, 4)) < 0.3
    found = calibrate_labels(np.where(labels, score, -score).astype(np.float32), labels)
    # Another half image with any labels: p = (200 + 0.25) / 200.5 of the right ones.
    assert found is not None
    assert expit(score / found.temperature) == pytest.approx(200.25 / 200.5)


def test_thresholds_are_those_of_the_calibrated_probabilities() -> None:
    logits, labels = drawn(400, 7.0)
    found = calibrate_labels(logits, labels)
    assert found is not None and found.temperature > 3
    probabilities = expit(logits / found.temperature)
    for k, threshold in enumerate(found.thresholds):
        each = [
            reference.f1_score(labels[:, k], probabilities[:, k] >= p) for p in probabilities[:, k]
        ]
        ours = reference.f1_score(labels[:, k], probabilities[:, k] >= threshold)
        assert ours == pytest.approx(max(each))


def test_a_label_that_few_images_have_or_lack_keeps_the_usual_threshold() -> None:
    logits, labels = drawn(400)
    labels[:, 0] = np.arange(400) < LEAST_WITH - 1
    labels[:, 1] = np.arange(400) >= LEAST_WITH - 1
    found = calibrate_labels(logits, labels)
    assert found is not None
    assert found.chosen == (False, False, True, True)
    assert found.thresholds[:2] == (USUAL, USUAL) and USUAL not in found.thresholds[2:]


def test_too_few_images_tell_nothing() -> None:
    logits, labels = drawn(LEAST_IMAGES - 1)
    assert calibrate_labels(logits, labels) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": float("nan")},
        {"thresholds": (0.5, 0.0)},
        {"thresholds": (0.5, 1.5)},
        {"thresholds": (0.5,)},
        {"thresholds": ("0.5", 0.5)},
    ],
)
def test_a_calibration_of_others_values_is_refused(changed: dict[str, Any]) -> None:
    right = LabelCalibration(temperature=1.0, thresholds=(0.5, 0.4), chosen=(False, True), images=9)
    assert LabelCalibration(**asdict(right)) == right
    with pytest.raises(ValueError, match="calibration"):
        LabelCalibration(**{**asdict(right), **changed})


def test_the_sigmoid_of_large_scores_is_scipys() -> None:
    scores = np.array([[-800.0, -3.0, 0.0, 2.0, 800.0]])
    assert sigmoid(scores) == pytest.approx(expit(scores))


def test_images_that_tie_are_found_together() -> None:
    has, probability = np.array([True, False, True]), np.array([0.5, 0.5, 0.5], np.float32)
    assert average_precision(has, probability) == pytest.approx(2 / 3)
