"""Metrics, compared with figures computed by hand and published ones."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from firstlight.evaluate import metrics as module
from firstlight.evaluate.metrics import Metrics, calibration_error, measure, wilson_interval
from firstlight.evaluate.mistakes import worst_mistakes

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 0, 1, 1, 2], dtype=np.int64)
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],  # cat, right
        [0.1, 0.7, 0.2],  # cat taken for dog
        [0.2, 0.6, 0.2],  # cat taken for dog
        [0.1, 0.9, 0.0],  # dog, right
        [0.5, 0.3, 0.2],  # dog taken for cat
        [0.1, 0.1, 0.8],  # owl, right
    ],
    dtype=np.float32,
)


def test_figures_by_hand() -> None:
    metrics = measure(LABELS, PROBABILITIES, NAMES)
    assert (metrics.count, metrics.correct, metrics.accuracy) == (6, 3, 0.5)
    assert metrics.confusion == ((1, 2, 0), (1, 1, 0), (0, 0, 1))
    cat, dog, owl = metrics.per_class
    assert cat.support == 3
    assert cat.precision == pytest.approx(1 / 2)
    assert cat.recall == pytest.approx(1 / 3)
    assert dog.f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert (owl.precision, owl.recall, owl.f1) == (1.0, 1.0, 1.0)
    first = metrics.most_confused[0]
    assert (first.true, first.predicted, first.count) == ("cat", "dog", 2)
    assert first.share == pytest.approx(2 / 3)
    assert len(metrics.most_confused) == 2
    expected = -np.log([0.8, 0.1, 0.2, 0.9, 0.3, 0.8]).mean()
    assert metrics.log_loss == pytest.approx(expected, rel=1e-5)


def test_the_interval_is_wilsons() -> None:
    # 81 of 263: Newcombe 1998, table I, method 3 gives 0.2553 to 0.3662.
    labels = np.zeros(263, dtype=np.int64)
    probabilities = np.tile(np.array([0.0, 1.0], dtype=np.float32), (263, 1))
    probabilities[:81] = [1.0, 0.0]
    low, high = measure(labels, probabilities, ("a", "b")).accuracy_interval
    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


def test_figures_are_scikit_learns() -> None:
    """Includes a class that is never true, one that is never predicted, and a certain mistake."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 500)
    probabilities = rng.dirichlet([0.3] * 7, 500).astype(np.float32)
    probabilities[:, 5] = 0
    probabilities[0] = np.eye(7, dtype=np.float32)[(labels[0] + 1) % 5]
    metrics = measure(labels, probabilities, tuple("abcdefg"))

    predicted, classes = probabilities.argmax(axis=1), np.arange(7)
    assert not (labels == 6).any() and not (predicted == 5).any()
    assert np.array_equal(metrics.confusion, confusion_matrix(labels, predicted, labels=classes))
    theirs = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0.0)
    ours = [(c.precision, c.recall, c.f1, c.support) for c in metrics.per_class]
    np.testing.assert_allclose(np.transpose(ours), theirs, rtol=1e-12)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert metrics.log_loss == pytest.approx(log_loss(labels, exact, labels=classes), rel=1e-9)


@pytest.mark.parametrize(
    ("right", "count"), [(0, 1), (1, 1), (0, 50), (50, 50), (17, 50), (9926, 10000)]
)
def test_the_interval_is_scipys(right: int, count: int) -> None:
    theirs = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, count) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # One bin (confidence 0.9, n = 4, half right) and one (0.6, n = 1, right).
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1, 1], dtype=np.int64)
    assert calibration_error(labels, probabilities) == pytest.approx(
        (4 * abs(0.5 - 0.9) + abs(1 - 0.6)) / 5, abs=1e-6
    )


def test_each_fifteenth_of_the_confidence_is_a_bin_of_its_own() -> None:
    def error(*answers: tuple[float, bool]) -> float:
        """Answers with a confidence among 20 classes, and whether they are right."""
        rows = [[sure, *[(1 - sure) / 19] * 19] for sure, _ in answers]
        labels = np.array([0 if right else 1 for _, right in answers], dtype=np.int64)
        return calibration_error(labels, np.array(rows, dtype=np.float32))

    high = error((0.82, True), (0.90, False), (0.97, True))  # in the last three bins
    assert high == pytest.approx((0.18 + 0.90 + 0.03) / 3, abs=1e-6)
    low = error((0.06, True), (0.10, False))  # in the first two
    assert low == pytest.approx((0.94 + 0.10) / 2, abs=1e-6)
    together = error((0.935, True), (0.96, False))  # above 14/15
    assert together == pytest.approx(abs(0.5 - 0.9475), abs=1e-6)


def test_only_answers_from_the_threshold_on_count_as_answered() -> None:
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [1, 0], [0, 1]], dtype=np.float32)
    answered = measure(np.array([0, 1, 0, 1]), probabilities, ("a", "b"), 0.75).answered
    assert answered is not None
    assert (answered.coverage, answered.accuracy) == (3 / 4, 2 / 3)
    unsure = np.full((4, 2), 0.5, np.float32)
    none = measure(np.array([0, 1, 0, 1]), unsure, ("a", "b"), 0.75).answered
    assert none is not None and (none.coverage, none.accuracy) == (0, None)


def test_a_large_confusion_matrix_is_written_without_its_rarest_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classes = 120
    labels = np.repeat(np.arange(classes), np.arange(1, classes + 1))  # one of the first class, …
    answers = np.where(labels < 100, labels, labels - 100)
    rows = np.eye(classes, dtype=np.float32)[answers]
    names = tuple(map(str, range(classes)))
    metrics = measure(labels, rows, names)
    assert Metrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics
    monkeypatch.setattr(module, "MOST_CELLS", 21)
    cut = Metrics.from_json(metrics.to_json())
    wanted = np.array(metrics.confusion) * (np.arange(classes)[:, None] >= 99)
    assert np.array_equal(cut.confusion, wanted)
    with pytest.raises(ValueError, match="confusion matrix"):
        Metrics.from_json(metrics.to_json() | {"confusion": [[1]]})


def test_a_class_that_is_absent_gets_zeros_and_not_a_crash() -> None:
    metrics = measure(LABELS[:5], PROBABILITIES[:5], NAMES)
    assert metrics.per_class[2].support == 0
    assert metrics.per_class[2].recall == 0.0


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        measure(LABELS, PROBABILITIES[:, :2], NAMES)
    with pytest.raises(ValueError, match="do not match"):
        measure(LABELS[:0], PROBABILITIES[:0], NAMES)


def test_probabilities_that_are_no_numbers_are_refused() -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[0] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        measure(LABELS, probabilities, NAMES)


def test_worst_mistakes_come_least_probable_truth_first_and_hold_only_mistakes() -> None:
    wrong = PROBABILITIES.argmax(axis=1) != LABELS
    truth = PROBABILITIES[range(len(LABELS)), LABELS]
    assert worst_mistakes(wrong, truth).tolist() == [1, 2, 4]
    assert worst_mistakes(wrong, truth, count=1).tolist() == [1]
