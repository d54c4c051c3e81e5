"""``FirstlightClassifier`` with several labels for each image, as scikit-learn's own do it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import cross_validate
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from tests.marks import drawn

from firstlight.estimator import FirstlightClassifier

Pair = tuple[np.ndarray, np.ndarray]


def classifier(epochs: int, **choices: Any) -> FirstlightClassifier:
    """With the recipe that is made for the images."""
    return FirstlightClassifier(settings=f"train.epochs={epochs}", **choices)


@pytest.fixture(scope="module")
def marks() -> Pair:
    """Images 240×28×28 and labels 240×3."""
    rng = np.random.default_rng(0)
    has = rng.random((240, 3)) < 0.4
    return np.stack([drawn(tuple(one), rng) for one in has]), has.astype(int)


@pytest.fixture(scope="module")
def fitted(marks: Pair) -> FirstlightClassifier:
    """On the first 180. Do not change it."""
    images, labels = marks
    return classifier(8).fit(images[:180], labels[:180])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_answers_have_the_forms_of_scikit_learns_own(
    fitted: FirstlightClassifier, marks: Pair
) -> None:
    images, labels = marks
    flat = images.reshape(len(images), -1) / 255
    network = MLPClassifier((4,), max_iter=3).fit(flat[:180], labels[:180])
    each = MultiOutputClassifier(MLPClassifier((4,), max_iter=3)).fit(flat[:180], labels[:180])
    test, truth = images[180:], labels[180:]
    answers, probabilities = fitted.predict(test), fitted.predict_proba(test)
    wanted = network.predict(flat[180:])
    assert answers.shape == wanted.shape and answers.dtype == labels.dtype
    wanted = network.predict_proba(flat[180:])
    assert probabilities.shape == wanted.shape and probabilities.dtype == np.float64
    assert np.array_equal(answers, (probabilities >= 0.5).astype(int))
    assert probabilities.sum(axis=1).max() > 1
    assert [one.tolist() for one in fitted.classes_] == [one.tolist() for one in each.classes_]
    assert fitted.score(test, truth) == accuracy_score(truth, answers)
    assert f1_score(truth, answers, average="macro") > 0.8
    assert average_precision_score(truth, probabilities) > 0.9


@pytest.mark.parametrize("labels", [2, 3])
def test_scikit_learns_scores_take_it_also_in_two_processes(marks: Pair, labels: int) -> None:
    """Of two labels, scikit-learn would take two classes for the classes of one label."""
    images, rows = marks[0], marks[1][:, :labels]
    scoring = ["accuracy", "f1_macro", "average_precision", "roc_auc"]
    found = [
        cross_validate(classifier(2), images, rows, cv=2, scoring=scoring, n_jobs=jobs)
        for jobs in (None, 2)
    ]
    for name in scoring:
        assert np.array_equal(*(one[f"test_{name}"] for one in found)), name
    model = classifier(2).fit(images[120:], rows[120:])
    wanted = roc_auc_score(rows[:120], model.predict_proba(images[:120]))
    assert found[0]["test_roc_auc"][0] == pytest.approx(wanted)


def test_the_form_of_the_labels_does_not_matter(marks: Pair) -> None:
    images, labels = marks
    first = classifier(1).fit(images, labels).predict_proba(images[:20])
    for form in (labels.tolist(), labels.astype(bool), labels.astype(float), csr_array(labels)):
        model = classifier(1).fit(images, form)
        assert np.array_equal(first, model.predict_proba(images[:20]))
    assert classifier(1).fit(images, labels.astype(bool)).predict(images[:5]).dtype == bool


def test_a_label_that_all_rows_have_or_none_is_learned_too(marks: Pair) -> None:
    """As the parts of a cross-validation may have them."""
    images, labels = marks
    rows = np.column_stack([labels[:, 0], np.ones(240, int), np.zeros(240, int)])
    answers = classifier(4).fit(images, rows).predict(images)
    assert answers[:, 1].all() and not answers[:, 2].any()


def test_copies_and_saved_ones_answer_the_same(
    fitted: FirstlightClassifier, marks: Pair, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "saved")
    wanted = fitted.predict_proba(marks[0][:20])
    for again in (
        pickle.loads(pickle.dumps(fitted)),
        FirstlightClassifier.load(tmp_path / "saved"),
    ):
        assert np.array_equal(again.predict_proba(marks[0][:20]), wanted)
        assert np.array_equal(again.predict(marks[0][:20]), fitted.predict(marks[0][:20]))
        assert [one.tolist() for one in again.classes_] == [[0, 1]] * 3


def test_rows_of_weight_zero_count_for_nothing(marks: Pair) -> None:
    images, labels = marks
    counted = np.arange(240) < 160
    wrong = np.where(counted[:, None], labels, 1 - labels)
    one = classifier(1).fit(images, wrong, sample_weight=counted.astype(float))
    other = classifier(1).fit(images[:160], labels[:160])
    assert np.array_equal(one.predict_proba(images[:9]), other.predict_proba(images[:9]))


@pytest.mark.parametrize(
    ("change", "choices", "why"),
    [
        (lambda y: y + 1, {}, "wanted 0 and 1, whether each row has each label, got 1 and 2"),
        (lambda y: y * 0, {}, "all rows have the same labels"),
        (lambda y: y[:, :1] * 0 + [[0, 1]], {}, "all rows have the same labels"),
        (lambda y: y[1:], {}, "inconsistent numbers of samples"),
        (lambda y: y + np.arange(3), {}, "y should be a 1d array"),
        (lambda y: np.where(np.arange(3) == np.arange(240)[:, None], np.nan, y), {}, "0, 1, 2"),
        (lambda y: y, {"class_weight": "balanced"}, "class_weight is for one label per image"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    marks: Pair, change: Any, choices: dict[str, Any], why: str
) -> None:
    images, labels = marks
    with pytest.raises(ValueError, match=why):
        classifier(1, **choices).fit(images, change(labels))
