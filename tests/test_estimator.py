"""The scikit-learn estimator: scikit-learn's own checks, images of every accepted form, saving."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import firstlight as fl
from firstlight.errors import DataError, UserError
from firstlight.estimator import FirstlightClassifier

TINY = (
    *("model.name=whitened", "model.widths=[16]", "model.first_kernel=2", "model.first_filters=8"),
    *("model.logit_scale=0.05", "optimizer.name=muon", "optimizer.learning_rate=0.1"),
    *("schedule.name=one-cycle", "schedule.warmup_fraction=0.0"),
    *("train.epochs=30", "train.batch_size=16"),
)
PLAIN = fl.Recipe(name="plain").with_settings(TINY)


EXPECTED_TO_FAIL = {
    "check_methods_subset_invariance": "float32 convolutions of batches of another size add up in "
    "another order; probabilities then differ in the seventh digit, and 1e-7 is asked for",
}


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [FirstlightClassifier(PLAIN)], expected_failed_checks=lambda _: EXPECTED_TO_FAIL
)
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return data.images[:600], data.target[:600]


SHORT = ("train.epochs=1",)


def test_every_form_of_the_same_images_gives_the_same_answers(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = (part[:300] for part in digits)
    forms: list[tuple[np.ndarray, dict[str, Any]]] = [
        (images, {}),
        (images[..., None], {}),
        (images.reshape(len(images), 64), {"image_shape": (8, 8)}),
        (images.reshape(len(images), 64), {"image_shape": (8, 8, 1)}),
        (images.astype(np.float32) / 16, {}),
        (np.rint(images / 16 * 255).astype(np.uint8), {}),
    ]
    answers = [
        FirstlightClassifier(settings=SHORT, **words).fit(x, labels).predict_proba(x)
        for x, words in forms
    ]
    for other in answers[1:]:
        assert np.array_equal(answers[0], other)


def test_it_learns_and_works_in_pipelines_searches_and_cross_validation(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = digits
    flat = images.reshape(len(images), 64)
    model = FirstlightClassifier(
        image_shape=(8, 8), settings=("train.epochs=10", "train.batch_size=32")
    )
    assert cross_val_score(model, flat, labels, cv=3).mean() > 0.9
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), clone(model))
    assert pipeline.fit(flat[:400], labels[:400]).score(flat[400:], labels[400:]) > 0.85
    search = GridSearchCV(model, {"seed": [0, 1]}, cv=2).fit(flat[:200], labels[:200])
    assert search.best_params_["seed"] in (0, 1)


def test_the_seed_decides_and_the_classes_may_be_text(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = digits
    names = np.array(["even", "odd"])[labels % 2]
    found = [
        FirstlightClassifier(settings=("train.epochs=1",), seed=seed).fit(images, names)
        for seed in (1, 1, 2)
    ]
    assert list(found[0].classes_) == ["even", "odd"]
    one, same, other = (f.predict_proba(images) for f in found)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert set(found[0].predict(images)) <= {"even", "odd"}


def test_what_is_saved_comes_back_with_the_same_answers(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Any
) -> None:
    images, labels = digits
    for classes in (labels, labels.astype(str), labels > 4):
        model = FirstlightClassifier(settings=("train.epochs=1",)).fit(images, classes)
        model.save(tmp_path / "model")
        loaded = FirstlightClassifier.load(tmp_path / "model")
        assert np.array_equal(model.predict_proba(images), loaded.predict_proba(images))
        assert np.array_equal(model.predict(images), loaded.predict(images))
        assert model.classes_.dtype == loaded.classes_.dtype
    assert not list((tmp_path / "model").glob("*.pkl"))
    (tmp_path / "model" / "estimator.json").write_text("[]")
    with pytest.raises(DataError, match="do not fit together"):
        FirstlightClassifier.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("shape", "words", "message"),
    [
        ((20, 64), {"image_shape": (7, 8)}, r"image_shape \(7, 8\) does not fit rows of 64"),
        ((20, 64), {"image_shape": (64,)}, "does not fit rows of 64"),
        ((20, 8, 8, 2), {}, "with 1 or 3 channels"),
        ((20, 8, 8, 3, 1), {}, "wanted images"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    shape: tuple[int, ...], words: dict[str, Any], message: str
) -> None:
    images = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=message):
        FirstlightClassifier(**words).fit(images, np.arange(20) % 2)


def test_another_size_is_refused_later_and_a_wrong_recipe_at_once(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = digits
    model = FirstlightClassifier(settings=("train.epochs=1",)).fit(images[:100], labels[:100])
    with pytest.raises(ValueError, match=r"fitted on arrays \(n, 8, 8\), got \(2, 9, 9\)"):
        model.predict(np.zeros((2, 9, 9)))
    with pytest.raises(UserError, match="no recipe is called"):
        FirstlightClassifier("nothing").fit(images, labels)
