"""Temperature and threshold, compared with a grid search and with counting."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from firstlight.evaluate.calibrate import (
    COVERAGE,
    Calibration,
    accuracy_at_coverage,
    calibrate,
    calibrated_losses,
)

RNG = np.random.default_rng(0)


def drawn(count: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels drawn from the softmax of scores, and those scores times ``sharpness``."""
    scores = RNG.normal(size=(count, 5)) * 2
    labels = np.array([RNG.choice(5, p=p) for p in softmax(scores, axis=1)])
    return (scores * sharpness).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 7.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(sharpness: float) -> None:
    logits, labels = drawn(4000, sharpness)
    found = calibrate(logits, labels)
    assert found is not None
    # Drawn at temperature `sharpness`; 4,000 images determine it to a few per cent.
    assert found.temperature == pytest.approx(sharpness, rel=0.1)
    grid = np.exp(np.linspace(np.log(sharpness) - 0.5, np.log(sharpness) + 0.5, 401))
    losses = [-log_softmax(logits / t, axis=1)[range(4000), labels].mean() for t in grid]
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)


def test_the_threshold_lets_the_stated_share_through() -> None:
    logits, labels = drawn(1000, 1.0)
    found = calibrate(logits, labels)
    assert found is not None
    confidence = softmax(logits.astype(float) / found.temperature, axis=1).max(axis=1)
    # One image is exactly at the threshold, so rounding decides its side.
    assert abs((confidence >= found.threshold).sum() - 1000 * COVERAGE) <= 1
    assert found.coverage == pytest.approx(COVERAGE, abs=0.002)


def all_right(count: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return scores as label smoothing leaves them: all answers right, none very confident."""
    labels = np.arange(count) % 5
    logits = RNG.normal(size=(count, 5)).astype(np.float32) * 0.1
    logits[range(count), labels] = logits.max(axis=1) + margin
    return logits, labels.astype(np.int64)


def doubting_loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Return the loss of all images, and of another half image with a uniform class."""
    scores = log_softmax(logits / temperature, axis=1)
    return float(-scores[range(len(labels)), labels].sum() - 0.5 * scores.mean())


@pytest.mark.parametrize("count", [10, 49, 200])
def test_images_that_are_all_right_are_believed_as_far_as_their_number_goes(count: int) -> None:
    """Without that half image, the loss falls with the temperature forever, until every answer is
    certain. At a temperature of 1, answers that are always right have 77 %."""
    logits, labels = all_right(count, 2.6)
    found = calibrate(logits, labels)
    assert found is not None
    grid = np.exp(np.linspace(-4, 1, 2001))
    losses = [doubting_loss(logits, labels, t) for t in grid]
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)
    sure = softmax(logits / found.temperature, axis=1).max(axis=1).mean()
    assert 1 - 1 / count < sure < 1 - 0.1 / count


def test_one_mistake_among_many_decides_as_it_is() -> None:
    logits, labels = all_right(200, 0.5)
    logits[0, 1] = logits[0, 0] + 3
    found = calibrate(logits, labels)
    assert found is not None
    grid = np.exp(np.linspace(-4, 2, 2001))
    losses = [-log_softmax(logits / t, axis=1)[range(200), labels].mean() for t in grid]
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)


def test_mistakes_among_few_are_joined_by_half_an_image_of_any_class() -> None:
    logits, labels = all_right(20, 2.0)
    labels[:2] = (labels[:2] + 1) % 5
    found = calibrate(logits, labels)
    assert found is not None
    grid = np.exp(np.linspace(-4, 2, 2001))
    losses = [doubting_loss(logits, labels, t) for t in grid]
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)


def test_of_few_images_the_least_sure_is_the_threshold() -> None:
    logits, labels = drawn(49, 1.0)
    found = calibrate(logits, labels)
    assert found is not None
    confidence = softmax(logits.astype(float) / found.temperature, axis=1).max(axis=1)
    assert found.threshold == pytest.approx(confidence.min())
    assert (found.coverage, found.images) == (1.0, 49)


def test_the_calibrated_loss_is_the_least_over_temperatures_however_sure_the_answers() -> None:
    rng = np.random.default_rng(4)
    labels_N = rng.integers(0, 5, 400)
    logits_NK = rng.normal(size=(400, 5)).astype(np.float32)
    logits_NK[np.arange(400), labels_N] += 1.0

    def loss(factor: float) -> float:
        return -float(log_softmax(factor * logits_NK, axis=1)[np.arange(400), labels_N].mean())

    least = minimize_scalar(loss, bounds=(0.01, 10), method="bounded").fun
    for sharpness in (0.1, 1.0, 8.0):
        found = calibrated_losses((sharpness * logits_NK).astype(np.float32), labels_N)
        assert found.mean() == pytest.approx(least, rel=1e-4)


def test_of_few_images_none_decides_the_temperature_of_its_own_answer() -> None:
    logits, labels = drawn(20, 1.0)
    losses = calibrated_losses(logits, labels)
    for at in (0, 7, 19):
        others = np.arange(20) != at
        found = calibrate(logits[others], labels[others])
        assert found is not None
        expected = -log_softmax(logits[at].astype(float) / found.temperature)[labels[at]]
        assert losses[at] == pytest.approx(expected)


def test_fewer_calibrate_nothing() -> None:
    logits, labels = drawn(9, 1.0)
    assert calibrate(logits, labels) is None


def test_an_impossible_calibration_is_refused() -> None:
    for temperature, threshold in ((0.0, 0.5), (1.0, 1.5), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match="calibration: "):
            Calibration(temperature=temperature, threshold=threshold, coverage=0.95, images=100)


def test_accuracy_at_coverage_by_hand() -> None:
    right = np.array([True, False, True, False])
    confidence = np.array([0.9, 0.3, 0.5, 0.8], np.float32)
    coverage, accuracy = accuracy_at_coverage(right, confidence)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert accuracy.tolist() == pytest.approx([1.0, 1 / 2, 2 / 3, 2 / 4])


@pytest.mark.parametrize("count", [20, 400])
def test_a_number_added_to_all_scores_of_an_image_changes_nothing(count: int) -> None:
    """A softmax does not see it."""
    logits, labels = all_right(count, margin=2.0)
    moved = logits + RNG.normal(size=(count, 1)).astype(np.float32)
    plain, other = calibrate(logits, labels), calibrate(moved, labels)
    assert plain is not None and other is not None
    assert other.temperature == pytest.approx(plain.temperature, rel=1e-5)
