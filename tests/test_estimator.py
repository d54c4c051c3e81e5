"""The scikit-learn estimator: scikit-learn's own checks, images in every accepted form, saving."""

import copy
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.kit import whitened_net

import firstlight as fl
from firstlight.errors import DataError, UserError
from firstlight.estimator import FirstlightClassifier
from firstlight.layers.own_code import own_code
from firstlight.threads import usable_threads

TINY = (
    *whitened_net(16, scale=0.05),
    *("optimizer.name=muon", "optimizer.learning_rate=0.1"),
    *("schedule.name=one-cycle", "schedule.warmup_fraction=0.0"),
    *("train.epochs=15", "train.batch_size=16"),
)
PLAIN = fl.Recipe(name="plain").with_settings(TINY)


EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": "a row given twice is met twice, in other "
    "batches and normalised with others; only where a batch is the whole set are the two the same",
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


@pytest.fixture(scope="module")
def few(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = digits
    return np.rint(images[:60] * (255 / 16)).astype(np.uint8), labels[:60] % 3


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
        image_shape=(8, 8), settings=("train.epochs=5", "train.batch_size=32")
    )
    assert cross_val_score(model, flat, labels, cv=3).mean() > 0.9
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), clone(model))
    assert pipeline.fit(flat[:400], labels[:400]).score(flat[400:], labels[400:]) > 0.75
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


def pickled(model: Any, _: Path) -> Any:
    return pickle.loads(pickle.dumps(model))


def dumped(model: Any, folder: Path) -> Any:
    return joblib.load(joblib.dump(model, folder / "model.joblib")[0])


def mapped(model: Any, folder: Path) -> Any:
    return joblib.load(joblib.dump(model, folder / "model.joblib")[0], mmap_mode="r")


def deep(model: Any, _: Path) -> Any:
    return copy.deepcopy(model)


@pytest.mark.parametrize("again", [pickled, dumped, mapped, deep])
def test_a_copy_of_a_fitted_estimator_answers_with_the_same_bits(
    again: Callable[[Any, Path], Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, labels = digits
    names = np.array(["even", "odd"], dtype=object)[labels % 2]
    model = FirstlightClassifier(
        PLAIN.with_settings(["train.epochs=1"]), class_weight={"even": 1.0, "odd": 2.0}, seed=3
    ).fit(images, names)
    before = {name: tensor.clone() for name, tensor in model.model_.state_dict().items()}
    other = again(model, tmp_path)
    assert np.array_equal(model.predict_proba(images), other.predict_proba(images))
    assert set(vars(other)) == set(vars(model))
    assert other.get_params() == model.get_params()
    assert other.recipe_ == model.recipe_
    assert list(other.classes_) == ["even", "odd"]
    # They share no memory, and the copy can be fitted again.
    with torch.no_grad():
        for tensor in other.model_.parameters():
            tensor.zero_()
    after = model.model_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert np.array_equal(
        model.predict_proba(images), other.fit(images, names).predict_proba(images)
    )
    assert not hasattr(clone(model), "model_")


def test_a_pickle_names_the_estimator_and_numpy_and_nothing_else_of_ours(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    model = FirstlightClassifier(PLAIN, settings=SHORT).fit(*few)
    text = pickle.dumps(model, protocol=2)
    named = {
        str(value).partition(" ")[0]
        for op, value, _ in pickletools.genops(text)
        if op.name == "GLOBAL"
    }
    assert "firstlight.estimator" in named
    assert {name.partition(".")[0] for name in named} <= {
        "firstlight",
        "numpy",
        "copy_reg",
        "_codecs",
    }
    assert [name for name in named if name.startswith("firstlight")] == ["firstlight.estimator"]
    assert len(text) < 2 * sum(t.nbytes for t in model.model_.state_dict().values()) + 20_000


def test_a_pickle_of_version_0_1_0_is_still_read(few: tuple[np.ndarray, np.ndarray]) -> None:
    model = FirstlightClassifier(settings=SHORT).fit(*few)
    old = FirstlightClassifier.__new__(FirstlightClassifier)
    old.__setstate__(dict(vars(model)))
    assert np.array_equal(model.predict_proba(few[0]), old.predict_proba(few[0]))


def test_a_pickle_of_a_newer_version_says_so(few: tuple[np.ndarray, np.ndarray]) -> None:
    state = FirstlightClassifier(settings=SHORT).fit(*few).__getstate__()
    state["firstlight"] = state["firstlight"].replace('"format": 1', '"format": 2')
    with pytest.raises(DataError, match=r"pickled in format 2; this firstlight reads 1\. A newer"):
        FirstlightClassifier.__new__(FirstlightClassifier).__setstate__(state)


def test_a_copy_from_a_device_that_is_not_here_answers_on_the_cpu(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    model = FirstlightClassifier(settings=SHORT, device="cpu").fit(*few)
    state = model.__getstate__()
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    state["firstlight"] = state["firstlight"].replace('"device": "cpu"', f'"device": "{missing}"')
    other = FirstlightClassifier.__new__(FirstlightClassifier)
    other.__setstate__(state)
    assert np.array_equal(model.predict_proba(few[0]), other.predict_proba(few[0]))


class Doubled(torch.nn.Module):
    """A module that no list of layers expresses."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.scores = torch.nn.Linear(math.prod(shape), classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.scores(2 * x.flatten(1)))


def test_a_fitted_network_of_code_is_not_pickled(few: tuple[np.ndarray, np.ndarray]) -> None:
    code = fl.Network(code=own_code(Doubled))
    model = FirstlightClassifier(replace(fl.Recipe(name="code"), network=code), settings=SHORT)
    copied = pickle.loads(pickle.dumps(model))  # pickle stores the function's name
    assert copied.recipe.network.code.make is Doubled
    model.fit(*few)
    with pytest.raises(UserError, match=r"network is code cannot be pickled or copied\. Train it"):
        pickle.dumps(model)
    with pytest.raises(UserError, match=r"network is code cannot be saved\. Train it"):
        model.save("nowhere")


def told_threads(model: Any, images: Any, labels: Any) -> float:
    """A score that equals the number of threads available to this process."""
    assert model.score(images, labels) >= 0
    return float(usable_threads())


def test_cross_validation_in_two_processes_gives_the_same_scores_and_shares_the_processors(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = (part[:200] for part in digits)
    monkeypatch.chdir(tmp_path)  # no run folder is made here
    model = FirstlightClassifier(PLAIN, settings=("train.epochs=2",))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    scoring = {"right": "accuracy", "threads": told_threads}
    try:
        two = cross_validate(
            model, images, labels, cv=2, n_jobs=2, scoring=scoring, return_estimator=True
        )
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert max(two["test_threads"]) * 2 <= max(2, usable_threads())
    monkeypatch.setenv("OMP_NUM_THREADS", str(int(two["test_threads"][0])))
    one = cross_validate(model, images, labels, cv=2, scoring="accuracy", return_estimator=True)
    assert list(one["test_score"]) == list(two["test_right"])
    for here, there in zip(one["estimator"], two["estimator"], strict=True):
        assert np.array_equal(here.predict_proba(images), there.predict_proba(images))
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(DataError, match="do not match"):
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
    model = FirstlightClassifier(settings="train.epochs=1").fit(images[:100], labels[:100])
    with pytest.raises(ValueError, match=r"fitted on arrays \(n, 8, 8\), got \(2, 9, 9\)"):
        model.predict(np.zeros((2, 9, 9)))
    with pytest.raises(UserError, match="is not a recipe or a file"):
        FirstlightClassifier("nothing").fit(images, labels)


def whole_batches() -> FirstlightClassifier:
    """Return plain gradient descent on all rows at once, with no randomness and nothing shared by
    rows."""
    settings = ("train.epochs=12", "train.batch_size=65536")
    return FirstlightClassifier("digits-tutorial", settings=settings)


def test_a_row_of_weight_two_counts_as_two_rows(few: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = few
    times = np.random.default_rng(0).integers(1, 5, len(labels))
    weighted = whole_batches().fit(images, labels, sample_weight=times)
    repeated = whole_batches().fit(images.repeat(times, axis=0), labels.repeat(times))
    plain = whole_batches().fit(images, labels)
    answers = [model.predict_proba(images) for model in (weighted, repeated, plain)]
    assert np.abs(answers[0] - answers[1]).max() < 2e-3
    assert np.abs(answers[0] - answers[2]).max() > 2e-2


def test_rows_of_weight_zero_are_as_if_they_were_not_there(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = few
    weights = np.ones(len(labels))
    weights[::4] = 0
    spoiled = images.copy()
    spoiled[::4] = 255 - spoiled[::4]
    given = FirstlightClassifier(settings=SHORT).fit(spoiled, labels, sample_weight=weights)
    without = FirstlightClassifier(settings=SHORT).fit(images[weights > 0], labels[weights > 0])
    assert np.array_equal(given.predict_proba(images), without.predict_proba(images))


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("train.micro_batch_size=16",),
        ("augment=[{ mixup = 1 }]",),
        ("train.class_weights=balanced",),
    ],
)
def test_only_the_ratio_of_weights_counts(
    few: tuple[np.ndarray, np.ndarray], settings: tuple[str, ...]
) -> None:
    images, labels = few
    weights = np.random.default_rng(1).uniform(0.5, 2, len(labels))
    found = [
        FirstlightClassifier(settings=(*SHORT, *settings))
        .fit(images, labels, sample_weight=w)
        .predict_proba(images)
        for w in (weights, 4 * weights, np.full(len(labels), 7.0), None)
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[2], found[3])
    assert not np.array_equal(found[0], found[2])


def test_class_weights_are_sample_weights(few: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = few
    labels = np.where(np.arange(60) < 50, 0, labels)
    weights = {0: 1.0, 1: 6.0, 2: 2.0}
    one = FirstlightClassifier(settings=SHORT, class_weight=weights).fit(images, labels)
    rows = np.array([weights[label] for label in labels])
    off = (*SHORT, "train.class_weights=none")
    other = FirstlightClassifier(settings=off).fit(images, labels, sample_weight=rows)
    assert np.array_equal(one.predict_proba(images), other.predict_proba(images))
    counts = np.bincount(labels)
    balanced = FirstlightClassifier(settings=SHORT, class_weight="balanced").fit(images, labels)
    rows = 60 / (3 * counts[labels])
    other = FirstlightClassifier(settings=off).fit(images, labels, sample_weight=rows)
    assert np.array_equal(balanced.predict_proba(images), other.predict_proba(images))


def test_a_saved_estimator_keeps_its_class_weights(
    few: tuple[np.ndarray, np.ndarray], tmp_path: Any
) -> None:
    for weights in ({np.int64(0): 2, 1: 1.5, 2: 1}, "balanced", None):
        model = FirstlightClassifier(settings=SHORT, class_weight=weights).fit(*few)
        model.save(tmp_path / "model")
        assert FirstlightClassifier.load(tmp_path / "model").class_weight == weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), "sample_weight"),
        (-np.ones(60), "0 or more"),
        (np.zeros(60), "some above 0|non-zero"),
        (np.full(60, np.nan), "NaN"),
    ],
)
def test_what_are_no_weights_is_refused(
    few: tuple[np.ndarray, np.ndarray], weights: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FirstlightClassifier().fit(*few, sample_weight=weights)


def test_classes_are_weighted_once(few: tuple[np.ndarray, np.ndarray]) -> None:
    twice = FirstlightClassifier(
        settings=("train.class_weights=balanced",), class_weight="balanced"
    )
    with pytest.raises(ValueError, match=r"class_weight and the recipe's train\.class_weights"):
        twice.fit(*few)


def test_what_it_does_not_take_says_what_to_do_instead(few: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(
        ValueError, match=r"each fit trains a new network.*firstlight\.train\(data, start="
    ):
        FirstlightClassifier(warm_start=True).fit(*few)
    assert not hasattr(FirstlightClassifier(), "partial_fit")
    with pytest.raises(AttributeError, match=r"no partial_fit.*firstlight\.train\(data, start="):
        FirstlightClassifier().partial_fit(*few)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None, 1] * 30, r"y: 30 of 60 labels are missing .*: rows 0, 2, 4, 6, 8"),
        ([float("nan"), *[0, 1] * 29, 1], r"1 of 60 labels is missing \(written 'nan'\): row 0\."),
        (np.array(["a", "nan"] * 30), "30 of 60 labels are missing"),
        (np.array([None, "b"] * 30, dtype=object), "30 of 60 labels are missing"),
    ],
)
def test_missing_labels_are_told_with_their_rows(
    few: tuple[np.ndarray, np.ndarray], labels: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FirstlightClassifier().fit(few[0], labels)


def test_images_of_another_range_than_in_training_are_told(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = few
    bytes_, floats, small = (
        FirstlightClassifier(settings=SHORT).fit(x, labels)
        for x in (images, images / 255, images // 16)
    )
    for model, strange in (
        (bytes_, images / 255),
        (bytes_, images // 16),
        (bytes_, (images[:1] > 99).astype(np.uint8)),
        (floats, images),
        (floats, images[:1].astype(np.float64)),
        (small, images),
        (small, images / 255),
    ):
        with pytest.raises(ValueError, match=r"fitted on pixels of 0 to .*, got .* Scale them to"):
            model.predict(strange)
    wanted = bytes_.predict_proba(images)
    assert np.array_equal(bytes_.predict_proba(images.astype(np.float32)), wanted)
    assert np.array_equal(floats.predict_proba(images / 255), wanted)
    assert bytes_.predict_proba(images[:1] // 4).shape == (1, 3)  # a dark picture
    assert bytes_.predict_proba(np.zeros((1, 8, 8))).shape == (1, 3)


def test_no_message_holds_an_array(few: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = few
    for words, x, y in (
        ({}, ["a" * 6000] * 60, labels),
        ({}, images, ["c" * 6000] * 60),
        ({"image_shape": tuple(range(5000))}, images.reshape(60, -1), labels),
        ({"recipe": "r" * 6000}, images, labels),
        ({"settings": ("s" * 6000,)}, images, labels),
    ):
        with pytest.raises((ValueError, UserError)) as caught:
            FirstlightClassifier(**words).fit(x, y)
        assert len(str(caught.value)) < 1100
